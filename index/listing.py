"""`artkin releases`: what is on the disk.

artkin releases --releases releases [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from index.gate import kept
from index.progress import console, figure, say
from index.release import manifest_of
from index.releases import current_id, is_held, release_ids
from index.space.errors import ArtefactError


@dataclass(frozen=True)
class Listed:
    """A release on the disk.

    Args:
        created: UTC, ISO 8601.
        precision_at_5: as the gate measured it over works shared with the release before; None
            where it was not.
        bytes: of its files.
        published: whether `current` is this one.
        held: whether a process has it open.
        problem: why it cannot be read; the other fields say nothing then.
    """

    id: str
    created: str = ""
    model: str = ""
    works: int = 0
    precision_at_5: float | None = None
    bytes: int = 0
    published: bool = False
    held: bool = False
    problem: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin releases`."""
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def main(options: argparse.Namespace) -> None:
    """Run `artkin releases`."""
    found = list(listed(options.releases))
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    table = Table("release", "created", "model", "works", "P@5", "MB", "")
    for one in found:
        if one.problem:
            table.add_row(
                one.id, "", "", "", "", f"{one.bytes / 1e6:.1f}", f"damaged: {one.problem}"
            )
            continue
        is_ = ["published"] * one.published + ["in use"] * one.held
        table.add_row(
            *(one.id, one.created, one.model, str(one.works), figure(one.precision_at_5)),
            *(f"{one.bytes / 1e6:.1f}", ", ".join(is_)),
        )
    console.print(table)
    if not found:
        say(f"{options.releases} holds no release")


def listed(releases: Path) -> Iterator[Listed]:
    """The releases of a folder, the newest first."""
    current = current_id(releases)
    for id_ in reversed(release_ids(releases)):
        folder = releases / id_
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        try:
            manifest = manifest_of(folder)
        except ArtefactError as error:
            yield Listed(id_, bytes=size, problem=str(error), published=id_ == current)
            continue
        yield Listed(
            id=id_,
            created=manifest.created,
            model=manifest.model,
            works=manifest.works,
            precision_at_5=_precision(releases, id_),
            bytes=size,
            published=id_ == current,
            held=is_held(folder),
        )


def _precision(releases: Path, id_: str) -> float | None:
    verdict = kept(releases, id_)
    checks = verdict.checks if verdict else []
    return next((check.after for check in checks if check.name == "precision_at_5"), None)
