"""`artkin rebuild` as tests run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import artkin
from index.release import DIFFERENCES, open_release
from index.releases import current_release
from index.space.artefact import MANIFEST


class Job:
    """`artkin rebuild` of one collection."""

    def __init__(self, root: Path, model: Path, releases: Path, capsys: Any) -> None:
        self.root, self.releases = root, releases
        self.state = releases.with_name("state")
        self._capsys = capsys
        self.arguments = ["--model", str(model), "--releases", str(releases)]
        self.arguments += ["--state", str(self.state)]
        self.out = self.err = ""

    def run(self, *options: object) -> int:
        code = artkin.main(["rebuild", str(self.root), *self.arguments, *map(str, options)])
        self.out, self.err = self._capsys.readouterr()
        return code

    def artkin(self, command: str, *options: object) -> int:
        code = artkin.main([command, *map(str, options)])
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((current_release(self.releases) / MANIFEST).read_text())

    @property
    def report(self) -> dict[str, Any]:
        return self.manifest["report"]

    def differences(self) -> list[tuple[str, str]]:
        lines = (current_release(self.releases) / DIFFERENCES).read_text().splitlines()
        return sorted((one["kind"], one["name"]) for one in map(json.loads, lines))

    def vectors(self) -> dict[str, tuple[str, list[float], bytes]]:
        """By digest: name, vector, thumbnail."""
        release = open_release(current_release(self.releases))
        found = {}
        for entry in release.catalogue.entries():
            vector = release.vectors.get(np.array([entry.row]))[0]
            found[entry.sha256] = (entry.name, vector.tolist(), release.thumbnail(entry))
        release.close()
        return found
