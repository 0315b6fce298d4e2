"""A release: the vectors, catalogue and thumbnails of one collection embedded by one model.

    releases/<id>/{index.faiss, catalogue.sqlite, thumbnails.sqlite, differences.jsonl,
                   manifest.json, manifest.sha256}
    releases/current -> <id>                  a relative link, replaced in one step
    releases/gates/<id>.json                  what the gate said of it (`gate.py`)
    releases/history.jsonl                    every switch (`publish.py`)
    releases/.lock                            held while releases are written or removed

A release never changes; a takedown puts another in its place (`takedown.py`). Opening one checks
everything that can be checked without the model, so that what is opened can be served.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from index.catalogue import Catalogue, Entry
from index.confidence import Confidence
from index.reading import BadFile
from index.report import Report
from index.space.artefact import MANIFEST, Manifest, read_manifest, refuse_file, sync_folder
from index.space.errors import ArtefactError, BadInput
from index.space.locking import exclusive
from index.space.model import Part
from index.thumbnails import Thumbnails
from index.vectors import FaissVectors, Floats, Vectors

INDEX = "index.faiss"
CATALOGUE = "catalogue.sqlite"
THUMBNAILS = "thumbnails.sqlite"
DIFFERENCES = "differences.jsonl"
CURRENT = "current"
CANARY_NEIGHBOURS = 5
# With "-1": the same without the works that were taken down.
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}(-\d+)?")
_STAMP = "%Y%m%dT%H%M%SZ"
_LEFT_BEHIND = (".*.partial-*", ".partial-*", f".{CURRENT}-*")
# Another processor sums in another order: cosines differ by some 1e-7, a wrong vector by far more.
_SCORE_TOLERANCE = 1e-5


class Canary(BaseModel):
    """A query with its answer, asked again whenever the release is opened.

    Args:
        query: the embedding of one of the model's own canary pictures.
        neighbours: ids of the nearest works, nearest first, at most 5.
        scores: their cosines.
    """

    model_config = ConfigDict(extra="forbid")

    query: list[float]
    neighbours: list[str]
    scores: list[float]


class ReleaseManifest(Manifest):
    """What a release says of itself.

    Args:
        id: the folder's name; answers carry it as their index version.
        created: UTC, ISO 8601.
        model: the model's `<name>-<version>`.
        model_digest: `Model.digest`; a query made by another model is refused.
        preprocessing_version: how pictures became pixels.
        precision: of the numbers inside the model when it embedded.
        dimension, parts, metric: of the vectors, as the model's manifest has them.
        works: number of vectors, catalogue entries and thumbnails.
        left_out: files of the collection that are no works, by reason.
        bad: pictures that could not be used.
        canaries: queries with their answers.
        confidence: how far answers can be trusted; None with too few works to learn it from.
        report: how it came about; None in releases of before.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = 2
    id: str
    created: str
    model: str
    model_digest: str
    preprocessing_version: int
    precision: str
    dimension: int
    parts: list[Part]
    metric: str
    works: int
    left_out: dict[str, int]
    bad: list[BadFile]
    canaries: list[Canary]
    confidence: Confidence | None
    report: Report | None = None


@dataclass(frozen=True)
class Release:
    """An opened, verified release.

    Args:
        held: its manifest, open and share-locked: who removes releases leaves it alone.
    """

    held: int
    folder: Path
    manifest: ReleaseManifest
    catalogue: Catalogue
    vectors: Vectors
    thumbnails: Thumbnails

    @property
    def id(self) -> str:
        """The version of the index, as answers carry it."""
        return self.manifest.id

    def thumbnail(self, entry: Entry) -> bytes:
        """A work's small picture, WebP.

        Raises:
            ArtefactError: it is not there.
        """
        picture = self.thumbnails.get(entry.row)
        if picture is None:
            raise ArtefactError(f"{self.folder}: no thumbnail of {entry.id!r}")
        return picture

    def close(self) -> None:
        """Close its files."""
        os.close(self.held)
        self.catalogue.close()
        self.thumbnails.close()


def open_release(folder: Path, mapped: bool = False) -> Release:
    """Open a release and verify it: digests, counts, rows, unit norms, canaries.

    Args:
        mapped: see `FaissVectors.load`; for jobs, which change nothing.

    Raises:
        ArtefactError: something is not as its manifest says.
    """
    manifest = manifest_of(folder, verify_files=True)
    unlisted = {INDEX, CATALOGUE, THUMBNAILS} - manifest.files.keys()
    if unlisted:
        raise ArtefactError(
            f"{folder}: its manifest has no digest of {', '.join(sorted(unlisted))}"
        )
    vectors = FaissVectors.load(folder / INDEX, mapped)
    catalogue = Catalogue(folder / CATALOGUE)
    thumbnails = Thumbnails(folder / THUMBNAILS)
    held = os.open(folder / MANIFEST, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    release = Release(held, folder, manifest, catalogue, vectors, thumbnails)
    try:
        _check_counts(release, vectors)
        for number, canary in enumerate(manifest.canaries):
            _check_canary(release, number, canary)
    except BaseException:
        release.close()
        raise
    return release


def manifest_of(folder: Path, verify_files: bool = False) -> ReleaseManifest:
    """What a release says of itself.

    Args:
        verify_files: whether the digest of every file is compared as well.

    Raises:
        ArtefactError: no release, of another format, or changed.
    """
    make_again = "artkin index COLLECTION"
    return read_manifest(folder, ReleaseManifest, "release", make_again, verify_files)


def is_held(folder: Path) -> bool:
    """Whether a process, a running service for one, has the release open."""
    try:
        manifest = os.open(folder / MANIFEST, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(manifest)
    return False


def current_release(releases: Path) -> Path:
    """The folder of the published release.

    Raises:
        BadInput: `releases` is a file.
        ArtefactError: nothing is published, or what is published is gone.
    """
    refuse_file(releases, "--releases")
    link = releases / CURRENT
    if not link.is_symlink():
        raise ArtefactError(
            f"nothing is published in {releases}; run `artkin publish --releases "
            f"{shlex.quote(str(releases))}`"
        )
    folder = releases / os.readlink(link)
    if not folder.is_dir():
        raise ArtefactError(
            f"{link} points to {folder.name}, which is gone; restore it or run "
            f"`artkin publish --releases {shlex.quote(str(releases))}`"
        )
    return folder


def current_id(releases: Path) -> str | None:
    """Id of the published release, whether it can be served or not; None, nothing is published."""
    link = releases / CURRENT
    return os.readlink(link) if link.is_symlink() else None


@contextmanager
def writing(releases: Path) -> Iterator[None]:
    """Be the only one who writes or removes releases; what killed ones left behind is removed.

    Raises:
        Refused: another job does; who and since when is said.
        BadInput: the folder cannot be written.
    """
    refuse_file(releases, "--releases")
    with exclusive(releases / ".lock", f"writing releases in {releases}"):
        for pattern in _LEFT_BEHIND:
            for path in releases.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        yield


def release_ids(releases: Path) -> list[str]:
    """Ids of the releases in a folder, oldest first; unfinished ones are not among them.

    Raises:
        BadInput: `releases` is a file.
    """
    refuse_file(releases, "--releases")
    if not releases.is_dir():
        return []
    return sorted(path.name for path in releases.iterdir() if _ID.fullmatch(path.name))


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


def new_release_id(releases: Path) -> str:
    """An id that sorts by time, 20261125T031500Z-3fa9, and after all that are there: a clock that
    was set back makes no new release an old one."""
    now = datetime.now(UTC)
    ids = release_ids(releases)
    if ids:
        newest = datetime.strptime(ids[-1][:16], _STAMP).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return f"{now.strftime(_STAMP)}-{secrets.token_hex(2)}"


def remove_release(folder: Path) -> None:
    """Remove a release; killed meanwhile, none is left, and `writing` clears up after it."""
    going = folder.with_name(f".{folder.name}.partial-removed")
    folder.rename(going)
    shutil.rmtree(going)


def switch(releases: Path, id_: str) -> None:
    """Publish a release: `current` points to the old one or to this one, never to neither."""
    link = releases / f".{CURRENT}-{os.getpid()}"
    link.unlink(missing_ok=True)  # left by a killed process that had our number
    link.symlink_to(id_, target_is_directory=True)
    try:
        link.replace(releases / CURRENT)
    except OSError:
        link.unlink()
        raise
    sync_folder(releases)


def ask_canaries(queries: Floats, vectors: Vectors, catalogue: Catalogue) -> list[Canary]:
    """Canaries with the answers that a new release gives.

    Args:
        queries: float32 of shape (canaries, dimension).
    """
    scores, rows = vectors.search(queries, CANARY_NEIGHBOURS)
    return [
        Canary(
            query=query.tolist(),
            neighbours=[entry.id for entry in catalogue.by_rows(found.tolist())],
            scores=score.tolist(),
        )
        for query, score, found in zip(queries, scores, rows, strict=True)
    ]


def _check_counts(release: Release, vectors: FaissVectors) -> None:
    manifest = release.manifest
    counts = {
        "manifest": manifest.works,
        "vectors": len(vectors),
        "catalogue": len(release.catalogue),
        "thumbnails": len(release.thumbnails),
    }
    if len(set(counts.values())) > 1 or not np.array_equal(vectors.rows(), np.arange(len(vectors))):
        raise ArtefactError(
            f"{release.folder}: vectors, catalogue and thumbnails must have the same rows; "
            f"received {counts}; make the release again"
        )
    if vectors.dimension != manifest.dimension or manifest.id != release.folder.name:
        raise ArtefactError(
            f"{release.folder}: its manifest says release {manifest.id!r} of dimension "
            f"{manifest.dimension}, its index has dimension {vectors.dimension}"
        )


def _check_canary(release: Release, number: int, canary: Canary) -> None:
    """The same ids must answer; works of equal score may change places."""
    query = np.asarray([canary.query], np.float32)
    expected = np.asarray(canary.scores, np.float32)
    entries = [release.catalogue.by_id(id_) for id_ in canary.neighbours]
    rows = np.asarray([entry.row for entry in entries if entry is not None], np.int64)
    scores, _ = release.vectors.search(query, CANARY_NEIGHBOURS)
    own = release.vectors.get(rows) @ query[0]
    for received in (scores[0], own):
        if received.shape != expected.shape or np.abs(received - expected).max() > _SCORE_TOLERANCE:
            raise ArtefactError(
                f"{release.folder}: canary {number} must answer {canary.neighbours} with "
                f"{canary.scores}; received {received.tolist()}; make the release again"
            )
