"""`artkin rollback`: serve the release of before again, at once.

artkin rollback [ID] --releases releases
"""

from __future__ import annotations

import argparse
from pathlib import Path

from index.history import history, switch_to
from index.progress import say
from index.release import ReleaseManifest, open_release
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
    """Verify an earlier release and switch to it. The gate is not asked: it was served before, and
    what is wrong now cannot wait.

    Args:
        id_: the release; None, the one that was served before the current one.

    Raises:
        BadInput: no such release, or none before.
        ArtefactError: it is damaged; what was served is served on.
    """
    chosen = choose_release(releases, id_) if id_ else _before(releases)
    release = open_release(releases / chosen, mapped=True)
    release.close()
    if chosen != current_id(releases):
        switch_to(releases, chosen, rolled_back=True)
    return release.manifest


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
