"""`artkin rebuild`: the nightly job. Index what changed, ask the gate, publish, tidy up.

    artkin rebuild COLLECTION --model models/art-1 --releases releases

Exit codes: 0 published, or nothing to do; 2 bad input; 3 refused by the gate, or another job runs.
"""

from __future__ import annotations

import argparse
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

from index.build import build, look, say_built
from index.changes import CHANGES, read_changes
from index.gate import kept
from index.history import history
from index.outcome import Outcome
from index.progress import progress_as, say
from index.publish import publish, say_published
from index.rebuilt import note_failed, on_record
from index.release import manifest_of
from index.releases import current_id, is_held, release_ids, remove_release, writing
from index.source import Source, add_source_arguments, refuse_bad_places, source_of
from index.space.errors import ArtefactError, BadInput, Refused
from index.space.model import Model, load_model
from index.takedown import take_down

KEEP = 5
KEEP_DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin rebuild`."""
    add_source_arguments(parser)
    parser.add_argument(
        "--keep",
        type=int,
        default=KEEP,
        help=f"releases kept, whatever their age (default {KEEP})",
    )
    parser.add_argument(
        "--keep-days",
        type=int,
        default=KEEP_DAYS,
        help=f"days that a release is kept, however many there are (default {KEEP_DAYS})",
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin rebuild`."""
    source = source_of(options)
    for name, value in (("--keep", options.keep), ("--keep-days", options.keep_days)):
        if value < 0:
            raise BadInput(f"{name} must be 0 or more; received {value}")
    with progress_as(options.progress):
        refuse_bad_places(source, options.releases)
        try:
            model = load_model(options.model)
        except ArtefactError as error:
            if not options.dry_run:
                note_failed(options.releases, error)
            raise
        if options.dry_run:
            outcome = look(source, model, options.releases)
            if outcome.is_new or outcome.release != current_id(options.releases):
                which = "a new release" if outcome.is_new else f"release {outcome.release}"
                say(f"{which} would be judged, and published if the gate lets it")
            outcome.tell()
            return
        rebuild(source, model, options.releases, options.keep, options.keep_days)


def rebuild(
    source: Source, model: Model, releases: Path, keep: int = KEEP, keep_days: int = KEEP_DAYS
) -> str:
    """Build a release of a source and publish it, unless what is published has it all.

    Args:
        keep, keep_days: older releases are removed when there are more and they are older.

    Returns:
        The id of the release that has it all.

    Raises:
        BadInput, ArtefactError: see `build.build`, `publish.publish`.
        Refused: by the gate, or another job writes releases.
    """
    with writing(releases), on_record(releases):
        known = -1
        # What was taken down while it was being built must not be in it: it is built once more,
        # which embeds nothing.
        while known != (known := _last_change(source)):
            built = build(source, model, releases)
        say_built(built.outcome)
        try:
            _publish(releases, built.id, source.state)
            _remove_old(releases, keep, keep_days)
        finally:
            _tell(built.outcome, releases)
    return built.id


def _publish(releases: Path, id_: str, state: Path) -> None:
    try:
        if id_ != current_id(releases):
            _refuse_rolled_back(releases, id_)
            say_published(publish(releases, id_))
    finally:  # a takedown that came meanwhile relies on it, whatever the gate says
        take_down(releases, state)


def _tell(outcome: Outcome, releases: Path) -> None:
    assert outcome.release is not None
    published = outcome.release == current_id(releases)
    verdict = kept(releases, outcome.release)
    outcome.model_copy(update={"published": published, "verdict": verdict}).tell()


def _refuse_rolled_back(releases: Path, id_: str) -> None:
    """What somebody rolled back must not come back the next night by itself."""
    for line in reversed(history(releases)):
        if line["release"] == id_:
            return
        if line["before"] == id_ and line.get("rolled_back"):
            raise Refused(
                f"release {id_} has it all, but {line['by']} rolled it back at {line['time']}; to "
                f"serve it again: artkin publish {id_} --releases {shlex.quote(str(releases))}"
            )


def _last_change(source: Source) -> int:
    return max((change.number for change in read_changes(source.state / CHANGES)), default=0)


def _remove_old(releases: Path, keep: int, keep_days: int) -> None:
    """Remove releases, but never the published one, nor one that a running service has open."""
    oldest = datetime.now(UTC) - timedelta(days=keep_days)
    current = current_id(releases)
    for id_ in release_ids(releases)[: -keep or None]:
        folder = releases / id_
        if id_ != current and _created(folder) < oldest and not is_held(folder):
            remove_release(folder)
            say(f"removed release {id_}, one of more than {keep} and older than {keep_days} days")


def _created(folder: Path) -> datetime:
    try:
        return datetime.fromisoformat(manifest_of(folder).created)
    except ArtefactError:
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC)
