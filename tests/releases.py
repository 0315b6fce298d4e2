"""Releases for tests."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from index.build import build
from index.releases import release_ids, writing
from index.source import Source
from index.space.model import load_model


def make_release(root: Path, model: Path, releases: Path, **source: Any) -> str:
    """A new release of a collection, embedded anew, also where another has it all; its id, which
    sorts after all that are there."""
    fresh = releases.with_name(f"{releases.name}-{secrets.token_hex(4)}")
    releases.mkdir(parents=True, exist_ok=True)
    fresh.mkdir()
    for id_ in release_ids(releases):
        (fresh / id_).mkdir()  # ids go on from there
    options = {"state": fresh / "no-state", **source}
    with writing(fresh):
        built = build(Source([root], **options), load_model(model), fresh)
    (fresh / built.id).rename(releases / built.id)
    return built.id
