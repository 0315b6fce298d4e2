"""`artkin index`: a collection and a model become a release.

    artkin index COLLECTION --model models/art-1 --releases releases

What earlier releases of the same model have embedded is taken from them, by the digest of the
picture files; a run that was stopped goes on from what it had done. The release appears whole when
everything is written. `artkin rebuild` does the same and publishes it.
"""

from __future__ import annotations

import argparse
import errno
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from index.embedding import BATCH, embed
from index.known import Known, forget, known_copy
from index.match import is_match
from index.outcome import Outcome, of_new, of_none
from index.plan import Plan, new_plan
from index.progress import progress_as, say, say_to_people
from index.reading import BadFile
from index.release import CATALOGUE, Release, ReleaseManifest, manifest_of, open_release
from index.releases import current_id, new_release_id, release_ids, writing
from index.report import Stages, show_differences, show_report
from index.source import (
    Found,
    Source,
    add_source_arguments,
    read_source,
    refuse_bad_places,
    source_of,
)
from index.space.artefact import new_folder
from index.space.encoder import Encoder
from index.space.errors import ArtefactError, BadInput
from index.space.model import Model, load_model
from index.vectors import Floats
from index.writing import write_release

# What a work takes in a release besides its vector: its thumbnail and its row of the catalogue.
_BYTES_A_WORK = 16_000
_ROUNDS = 3  # of embedding what changed while it was being embedded


@dataclass(frozen=True)
class Built:
    """A release that has all of a source, and how it came about."""

    id: str
    outcome: Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin index`."""
    add_source_arguments(parser)


def main(options: argparse.Namespace) -> None:
    """Run `artkin index`."""
    with progress_as(options.progress):
        source = source_of(options)
        refuse_bad_places(source, options.releases)
        model = load_model(options.model)
        if options.dry_run:
            look(source, model, options.releases).tell()
            return
        with writing(options.releases):
            built = build(source, model, options.releases)
        say_built(built.outcome)
        if built.id != current_id(options.releases):
            place = shlex.quote(str(options.releases))
            say(f"serve it with: artkin publish {built.id} --releases {place}")
        built.outcome.tell()


def say_built(outcome: Outcome) -> None:
    """Print which release has it all."""
    if outcome.is_new:
        say(f"release {outcome.release} is written")
    else:
        say(f"nothing to do: release {outcome.release} has it all")


def build(source: Source, model: Model, releases: Path) -> Built:
    """Write a new release of a source, unless one has it all; nothing is published.

    The caller holds `release.writing`.

    Raises:
        BadInput: no usable pictures, too many bad ones, the collection cannot be read whole, or
            the disk is full.
        ArtefactError: the model computes another space on this machine.
    """
    stages = Stages()
    with ExitStack() as opened:
        plan = opened.enter_context(new_plan())
        with stages("reading"):
            found = read_source(source, plan)
        earlier = _earlier(releases, model, opened)
        known = opened.enter_context(Known(releases, model, earlier))
        _say_going_on(known)
        missing = plan.note_missing(known)
        same, embedded = None if missing else _has_it_all(plan, earlier), 0
        if same is None:
            job = _Job(source, model, releases, plan, known, stages)
            with job.room(missing):
                job.embed(missing, found)
                same, embedded = _has_it_all(plan, earlier), job.embedded
                if same is None:
                    outcome = of_new(job.write(found))
        if same is not None:
            _compare_with_current(plan, releases)
            outcome = of_none(same, plan, found, embedded, stages.seconds)
    forget(releases, model)
    assert outcome.release is not None
    return Built(outcome.release, outcome)


def look(source: Source, model: Model, releases: Path) -> Outcome:
    """Say what `build` would do, and write nothing.

    Raises:
        BadInput: as `build` does.
    """
    with ExitStack() as opened:
        plan = opened.enter_context(new_plan())
        found = read_source(source, plan)
        earlier = _earlier(releases, model, opened)
        known = opened.enter_context(known_copy(releases, model, earlier))
        _say_going_on(known)
        missing = plan.note_missing(known)
        same = None if missing else _has_it_all(plan, earlier)
        _compare_with_current(plan, releases)
        show_differences(plan)
        outcome = of_none(same, plan, found, missing, {})
        say_to_people(
            f"{len(plan)} works, {missing} pictures to embed, {len(found.bad)} unreadable"
        )
        if same:
            say_built(outcome)
        else:
            _check_bad(found, len(plan), source.max_bad)
    return outcome.model_copy(update={"dry_run": True})


def _say_going_on(known: Known) -> None:
    if len(known):
        say(f"going on: {len(known)} pictures were embedded by a run that was stopped")


class _Job:
    """The steps of one build that has something to do."""

    def __init__(
        self,
        source: Source,
        model: Model,
        releases: Path,
        plan: Plan,
        known: Known,
        stages: Stages,
    ) -> None:
        self._source, self._model, self._releases = source, model, releases
        self._plan, self._known, self._stages = plan, known, stages
        self._canaries: Floats | None = None
        self.embedded = 0

    @contextmanager
    def room(self, missing: int) -> Iterator[None]:
        """See that there is room on the disk, before and whenever it runs out."""
        vector = 4 * self._model.manifest.dimension
        # Vectors are written twice, into a file of their own and then as FAISS reads them.
        needed = len(self._plan) * (_BYTES_A_WORK + 2 * vector)
        needed += missing * (_BYTES_A_WORK + vector)
        if shutil.disk_usage(self._releases).free < needed:
            raise self._no_room(needed, self._releases)
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise self._no_room(needed, error.filename) from error

    def embed(self, missing: int, found: Found) -> None:
        """Embed what is not known; take out of the plan what cannot be used."""
        # Gone before the release is written: the two together would be the job's most memory.
        encoder = Encoder(self._model, batch=BATCH)
        self._canaries = encoder.check_canaries()
        for number in range(_ROUNDS):
            if not missing:
                break
            is_last = number == _ROUNDS - 1
            works = self._plan.missing()
            with self._stages("embedding"):
                done = embed(works, missing, encoder, self._known, is_last)
            self.embedded += done.embedded
            self._plan.correct(done.changed)
            for sha256, error in done.unusable.items():
                found.bad += [
                    BadFile(name=name, reason=error.slug, message=str(error))
                    for name in self._plan.drop(sha256)
                ]
            missing = self._plan.note_missing(self._known)
        _check_bad(found, len(self._plan), self._source.max_bad)
        if missing:
            raise BadInput(
                f"pictures must stay as they are while they are read; {missing} changed "
                f"{_ROUNDS} times; run it when nothing writes to them"
            )

    def write(self, found: Found) -> ReleaseManifest:
        """Write the release, after `embed`; what it says of itself."""
        assert self._canaries is not None
        id_ = new_release_id(self._releases)
        before = _compare_with_current(self._plan, self._releases)
        with new_folder(self._releases / id_) as folder:
            manifest = write_release(
                *(folder, id_, self._plan, self._known, self._model, self._canaries),
                *(found, self.embedded, before, self._stages),
            )
        assert manifest.report is not None
        show_differences(self._plan)
        show_report(manifest.report, manifest.works, found.bad, found.left_out)
        return manifest

    def _no_room(self, needed: int, place: object) -> BadInput:
        free = shutil.disk_usage(self._releases).free
        return BadInput(
            f"the disk is full ({place}): the release takes about {needed / 1e6:.0f} MB, "
            f"{free / 1e6:.0f} MB are free; free some space and run the same command again, it "
            "goes on from here"
        )


def _earlier(releases: Path, model: Model, opened: ExitStack) -> list[Release]:
    """The newest release of the model and the published one, if it is of the model."""
    ids = reversed(release_ids(releases))
    newest = next((id_ for id_ in ids if _is_of(releases / id_, model)), None)
    current = current_id(releases)
    chosen = [current] if current and _is_of(releases / current, model) else []
    chosen += [newest] if newest and newest not in chosen else []
    earlier = []
    for id_ in chosen:
        try:
            release = open_release(releases / id_, mapped=True)
        except ArtefactError as error:
            say(f"warning: nothing is taken from release {id_}: {error}")
            continue
        opened.callback(release.close)
        earlier.append(release)
    return earlier


def _is_of(folder: Path, model: Model) -> bool:
    try:
        return is_match(model, manifest_of(folder))
    except ArtefactError:
        return False


def _has_it_all(plan: Plan, earlier: Sequence[Release]) -> str | None:
    """The release that has these works and no others, as they are."""
    for release in earlier:
        plan.compare_with(release.folder / CATALOGUE)
        if next(plan.differences(), None) is None:
            return release.id
    return None


def _compare_with_current(plan: Plan, releases: Path) -> str | None:
    """Have the plan's differences be from the published release; its id."""
    current = current_id(releases)
    catalogue = releases / current / CATALOGUE if current else None
    if catalogue is None or not catalogue.is_file():
        plan.compare_with(None)
        return None
    plan.compare_with(catalogue)
    return current


def _check_bad(found: Found, usable: int, max_bad: float) -> None:
    bad = found.bad
    if not usable:
        first = f", the first {bad[0].name}: {bad[0].message}" if bad else ""
        raise BadInput(
            f"a release needs at least one usable picture; all {found.works} are unusable{first}"
        )
    share = 100 * len(bad) / found.works
    if share > max_bad:
        raise BadInput(
            f"at most {max_bad:g} % of the pictures may be unusable; received {len(bad)} of "
            f"{found.works} ({share:.1f} %), the first {bad[0].name} ({bad[0].reason}); repair "
            "them, or allow more with --max-bad"
        )
