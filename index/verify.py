"""`artkin verify`: whether releases are whole: every digest, count, unit norm and canary.

artkin verify [ID] --releases releases
"""

from __future__ import annotations

import argparse
from pathlib import Path

from index.progress import say
from index.release import open_release
from index.releases import choose_release, release_ids
from index.space.errors import ArtefactError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin verify`."""
    parser.add_argument("id", nargs="?", help="the release; without it, all of them")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")


def main(options: argparse.Namespace) -> None:
    """Run `artkin verify`."""
    chosen = choose_release(options.releases, options.id)
    ids = [chosen] if options.id else release_ids(options.releases)
    damaged = []
    for id_ in ids:
        try:
            release = open_release(options.releases / id_, mapped=True)
        except ArtefactError as error:
            say(f"release {id_}: {error}")
            damaged.append(id_)
        else:
            release.close()
            say(f"release {id_}: whole, {release.manifest.works} works")
    if damaged:
        raise ArtefactError(
            f"{len(damaged)} of {len(ids)} releases are damaged: {', '.join(damaged)}; restore "
            "them, or remove their folders and make them again"
        )
