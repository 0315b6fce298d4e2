"""`artkin publish`: verify a release and make it the one that is served.

artkin publish [ID] --releases releases
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from index.progress import say
from index.release import ReleaseManifest, open_release, release_ids, switch
from index.space.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin publish`."""
    parser.add_argument("id", nargs="?", help="the release; without it, the newest")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")


def main(options: argparse.Namespace) -> None:
    """Run `artkin publish`."""
    manifest = publish(options.releases, options.id)
    say(f"published: release {manifest.id}, {manifest.works} works, model {manifest.model}")


def publish(releases: Path, id_: str | None = None) -> ReleaseManifest:
    """Verify a release and switch to it.

    Args:
        id_: the release; None, the newest.

    Returns:
        What the release now served says of itself.

    Raises:
        BadInput: no such release, or none at all.
        ArtefactError: it is damaged; what was served before is served on.
    """
    chosen = choose_release(releases, id_)
    release = open_release(releases / chosen)
    release.close()
    switch(releases, chosen)
    return release.manifest


def choose_release(releases: Path, id_: str | None) -> str:
    """The id of a release that exists: the one named, or the newest.

    Raises:
        BadInput: no such release, none at all, or `releases` is a file.
    """
    ids = release_ids(releases)
    if not ids:
        raise BadInput(
            f"{releases} holds no release; make one with "
            f"`artkin index COLLECTION --model MODEL --releases {shlex.quote(str(releases))}`"
        )
    if id_ is None:
        return ids[-1]
    if id_ not in ids:
        raise BadInput(f"the release must be one of {', '.join(ids)}; received {id_!r}")
    return id_
