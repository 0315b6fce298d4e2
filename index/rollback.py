"""`artkin rollback`: serve the release of before again, at once.

artkin rollback [ID] --releases releases
"""

from __future__ import annotations

import argparse
from pathlib import Path

from index.progress import say
from index.publish import history, switch_to
from index.release import ReleaseManifest, manifest_of
from index.releases import choose_release, current_id, release_ids
from index.space.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin rollback`."""
    parser.add_argument("id", nargs="?", help="the release; without it, the one served before")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")


def main(options: argparse.Namespace) -> None:
    """Run `artkin rollback`."""
    manifest = roll_back(options.releases, options.id)
    say(f"rolled back to release {manifest.id}, {manifest.works} works, model {manifest.model}")


def roll_back(releases: Path, id_: str | None = None) -> ReleaseManifest:
    """Switch to an earlier release. The gate is not asked: it was served before, and what is wrong
    now cannot wait; a service verifies every digest before it takes a release up.

    Args:
        id_: the release; None, the one that was served before the current one.

    Raises:
        BadInput: no such release, or none before.
        ArtefactError: it is no release, or its manifest was changed.
    """
    chosen = choose_release(releases, id_) if id_ else _before(releases)
    manifest = manifest_of(releases / chosen)
    if chosen != current_id(releases):
        switch_to(releases, chosen, rolled_back=True)
    return manifest


def _before(releases: Path) -> str:
    ids, current = release_ids(releases), current_id(releases)
    for line in reversed(history(releases)):
        is_way_here = line["release"] == current and not line.get("rolled_back")
        if is_way_here and line["before"] in ids:
            return str(line["before"])
    earlier = [one for one in ids if current is not None and one < current]
    if not earlier:
        raise BadInput(
            f"there is no release before the published one ({current}) in {releases}; "
            f"there are {', '.join(ids) or 'none'}; name one"
        )
    return earlier[-1]
