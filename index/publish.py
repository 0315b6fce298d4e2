"""`artkin publish`: verify a release, judge it, and make it the one that is served.

artkin publish [ID] --releases releases [--force REASON]
"""

from __future__ import annotations

import argparse
import shlex
from contextlib import ExitStack
from pathlib import Path

from index.gate import judge, keep
from index.history import switch_to
from index.progress import say
from index.release import ReleaseManifest, open_release
from index.releases import choose_release, current_id
from index.space.errors import ArtefactError, BadInput, Refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin publish`."""
    parser.add_argument("id", nargs="?", help="the release; without it, the newest")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument(
        "--force", metavar="REASON", help="publish it although the gate refuses it; kept on record"
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin publish`."""
    if options.force is not None and not options.force.strip():
        raise BadInput("--force takes the reason, which is kept on record; received an empty one")
    say_published(publish(options.releases, options.id, options.force))


def say_published(manifest: ReleaseManifest) -> None:
    """Print what is served now."""
    say(f"published: release {manifest.id}, {manifest.works} works, model {manifest.model}")


def publish(releases: Path, id_: str | None = None, force: str | None = None) -> ReleaseManifest:
    """Verify and judge a release, and switch to it.

    Args:
        id_: the release; None, the newest.
        force: why it is published although the gate refuses it.

    Returns:
        What the release now served says of itself.

    Raises:
        BadInput: no such release, or none at all.
        ArtefactError: it is damaged; what was served before is served on.
        Refused: by the gate; the file it names says what failed.
    """
    chosen = choose_release(releases, id_)
    with ExitStack() as opened:
        release = open_release(releases / chosen, mapped=True)
        opened.callback(release.close)
        before = current_id(releases)
        if before == chosen:
            return release.manifest
        served = None
        if before is not None:
            try:
                served = open_release(releases / before, mapped=True)
                opened.callback(served.close)
            except ArtefactError as error:
                say(f"warning: not compared with release {before}, which cannot be read: {error}")
        verdict = judge(release, served)
    kept = keep(releases, verdict)
    if verdict.failed and force is None:
        raise Refused(
            f"release {chosen} is kept and not published: {verdict.reasons()}; see {kept}; to "
            f"publish it nevertheless: artkin publish {chosen} "
            f"--releases {shlex.quote(str(releases))} --force 'REASON'"
        )
    forced = {"forced": force, "refused": verdict.reasons()} if verdict.failed else {}
    switch_to(releases, chosen, **forced)
    return release.manifest
