"""`artkin remove` and `artkin allow`: take works down, for good, and take that back.

    artkin remove ID... [--reason TEXT] --releases releases --state state
    artkin allow ID... --state state

A running service with that state leaves a removed work out within a second, rebuilds leave it out
although its picture is still in the collection, and every release on the disk that has it is
replaced by one without its vector, thumbnail and catalogue row. What is kept of it is its id, when
and why.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from index.catalogue import Catalogue, Entry
from index.changes import CHANGES, Change, Changes, is_added, read_changes
from index.gate import gate_file
from index.history import switch_to
from index.known import forget_all
from index.progress import add_progress, progress_as, say
from index.release import (
    CATALOGUE,
    DIFFERENCES,
    INDEX,
    Release,
    ReleaseManifest,
    ask_canaries,
    open_release,
)
from index.releases import CURRENT, current_id, release_ids, remove_release, writing
from index.report import Copies
from index.space.artefact import new_folder, write_manifest
from index.space.errors import ArtefactError, BadInput, Refused
from index.vectors import FaissVectors
from index.writing import write_works

_WAIT_SECONDS = 10.0  # longer than a rebuild takes after it has looked for removed works


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin remove`."""
    parser.add_argument(
        "ids",
        nargs="*",
        metavar="ID",
        help="of a work; without any, what was removed before is taken out of the releases",
    )
    parser.add_argument("--reason", help="why, kept on record")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument(
        "--state", type=Path, default=Path("state"), help="of the service (default: state)"
    )
    add_progress(parser)


def main(options: argparse.Namespace) -> None:
    """Run `artkin remove`."""
    with progress_as(options.progress):
        remove(options.ids, options.reason, options.releases, options.state)


def remove(ids: Collection[str], reason: str | None, releases: Path, state: Path) -> None:
    """Take works down.

    Raises:
        BadInput: a work is nowhere to be found; none was taken down.
    """
    _check_there(ids, releases, state)
    with closing(Changes(state / CHANGES)) as changes:
        for id_ in ids:
            changes.remove(id_, reason, digest_of(id_, releases, state))
            say(f"removed: {id_}; a service with --state {shlex.quote(str(state))} leaves it out")
    if releases.exists() and os.statvfs(releases).f_flag & os.ST_RDONLY:
        say(f"{releases} is read-only here: the next rebuild takes it out of the releases there")
        return
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            with writing(releases):
                take_down(releases, state)
                return
        except Refused as error:
            if time.monotonic() > end:
                say(f"the releases on the disk: {error}; a rebuild that runs does it at its end")
                return
        time.sleep(0.2)


def take_down(releases: Path, state: Path) -> None:
    """Replace every release that has a removed work; the caller holds `release.writing`."""
    removed = [change for change in read_changes(state / CHANGES) if change.kind == "removed"]
    having = {id_: _gone(releases / id_, removed) for id_ in release_ids(releases)}
    for id_, gone in having.items():
        if gone:
            _replace(releases, id_, gone)
    if any(having.values()):
        forget_all(releases)


def digest_of(id_: str, releases: Path, state: Path) -> str | None:
    """SHA-256 of a work's file, of the newest release that has it or as it was removed before."""
    for one in reversed(release_ids(releases)):
        if entry := _find(releases / one, id_):
            # Of a work that was added only, its file may be in the collection by right.
            return None if is_added(entry.name) else entry.sha256
    changes = {change.id: change for change in read_changes(state / CHANGES)}
    return changes[id_].sha256 if id_ in changes else None


def is_in_any(releases: Path, id_: str) -> bool:
    """Whether a release on the disk has a work."""
    return any(_find(releases / one, id_) for one in release_ids(releases))


def _find(folder: Path, id_: str) -> Entry | None:
    return next(iter(_entries(folder, lambda catalogue: [catalogue.by_id(id_)])), None)


def _check_there(ids: Collection[str], releases: Path, state: Path) -> None:
    known = {change.id for change in read_changes(state / CHANGES)}
    for id_ in ids:
        if id_ in known or is_in_any(releases, id_):
            continue
        raise BadInput(
            f"a work to remove must be in a release of {releases}, or added to the service; "
            f"received {id_!r}, which is in none; see --releases and --state"
        )


def _gone(folder: Path, removed: Sequence[Change]) -> set[str]:
    """Ids of the works of a release that were removed, under that name or another; a work that was
    added over HTTP since is there because somebody wants it."""

    def ask(catalogue: Catalogue) -> Iterator[Entry | None]:
        for change in removed:
            yield catalogue.by_id(change.id)
            for entry in catalogue.by_sha256(change.sha256 or "-"):
                if not is_added(entry.name):
                    yield entry

    return {entry.id for entry in _entries(folder, ask)}


def _entries(folder: Path, ask: Callable[[Catalogue], Iterable[Entry | None]]) -> list[Entry]:
    """What a release's catalogue answers; nothing where it cannot be read: opening the release says
    what is wrong, wherever it is to be used."""
    try:
        with closing(Catalogue(folder / CATALOGUE)) as catalogue:
            return [entry for entry in ask(catalogue) if entry is not None]
    except ArtefactError:
        return []


def _replace(releases: Path, id_: str, gone: Collection[str]) -> None:
    try:
        release = open_release(releases / id_, mapped=True)
    except ArtefactError as error:
        # It cannot be served, and what was taken down must not stay in it.
        remove_release(releases / id_)
        say(f"warning: release {id_} has removed works and is damaged, so it is removed: {error}")
        return
    with closing(release):
        kept = [entry for entry in release.catalogue.entries() if entry.id not in gone]
        if not kept:
            _remove_all_of(releases, id_)
            return
        new = _free_id(releases, id_)
        with new_folder(releases / new) as folder:
            _write(folder, new, release, kept, gone)
    if (verdict := gate_file(releases, id_)).is_file():
        verdict.rename(gate_file(releases, new))
    if current_id(releases) == id_:
        switch_to(releases, new, taken_down=True)
    remove_release(releases / id_)
    say(f"release {id_} is replaced by {new}, without the removed works")


def _free_id(releases: Path, id_: str) -> str:
    """The release's id with the next number that is free: a job that was killed, or a release that
    was restored, may have left the one after."""
    time_, stem, *_ = id_.split("-")
    taken = set(release_ids(releases))
    numbers = (f"{time_}-{stem}-{number}" for number in count(1))
    return next(one for one in numbers if one > id_ and one not in taken)


def _remove_all_of(releases: Path, id_: str) -> None:
    if current_id(releases) == id_:
        (releases / CURRENT).unlink()
    remove_release(releases / id_)
    say(f"release {id_} had removed works only and is removed; nothing of it is served any more")


def _write(
    folder: Path, id_: str, release: Release, kept: list[Entry], gone: Collection[str]
) -> None:
    places = release.catalogue.places()
    works = (
        (
            replace(entry, row=row),
            release.vectors.get(np.asarray([entry.row], np.int64))[0],
            release.thumbnail(entry),
        )
        for row, entry in enumerate(kept)
    )
    shape = len(kept), release.vectors.dimension
    with write_works(folder, works, shape, lambda _: (places[entry.row] for entry in kept)):
        pass
    write_manifest(folder, _manifest(folder, id_, release, gone))


def _manifest(folder: Path, id_: str, release: Release, gone: Collection[str]) -> ReleaseManifest:
    """The old one's, with the canaries asked again and no removed work named."""
    old = release.manifest
    names = _write_differences(folder, release, gone)
    with closing(Catalogue(folder / CATALOGUE)) as catalogue:
        queries = np.asarray([canary.query for canary in old.canaries], np.float32)
        written = FaissVectors.load(folder / INDEX, mapped=True)
        canaries = ask_canaries(queries, written, catalogue)
        works = len(catalogue)
    report = old.report
    if report is not None:
        kinds = {"exact_copies": report.exact_copies, "near_copies": report.near_copies}
        report = report.model_copy(
            update={name: copies and _without(copies, names) for name, copies in kinds.items()}
        )
    return old.model_copy(
        update={"id": id_, "works": works, "canaries": canaries, "report": report}
    )


def _without(copies: Copies, names: set[str]) -> Copies:
    kept = [some for some in copies.names if not names.intersection(some)]
    return copies.model_copy(update={"names": kept})


def _write_differences(folder: Path, release: Release, gone: Collection[str]) -> set[str]:
    """Copy the lines of the works that stay; the names of the others."""
    names = {entry.name for id_ in gone if (entry := release.catalogue.by_id(id_))}
    lines = release.folder / DIFFERENCES
    if lines.is_file():
        kept = [
            line
            for line in lines.read_text(encoding="utf-8").splitlines(keepends=True)
            if json.loads(line)["id"] not in gone
        ]
        (folder / DIFFERENCES).write_text("".join(kept), encoding="utf-8")
    return names
