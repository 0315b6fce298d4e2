"""A release: the vectors, catalogue and thumbnails of one collection embedded by one model.

    <id>/{index.faiss, catalogue.sqlite, thumbnails.sqlite, differences.jsonl, manifest.json,
          manifest.sha256}

It lies in a folder of releases (`releases.py`) under its id. A release never changes; a takedown
puts another in its place (`takedown.py`). Opening one checks everything that can be checked without
the model, so that what is opened can be served.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from index.catalogue import Catalogue, Entry
from index.confidence import Confidence
from index.reading import BadFile
from index.report import Report
from index.space.artefact import MANIFEST, Manifest, read_manifest
from index.space.errors import ArtefactError
from index.space.model import Part
from index.thumbnails import Thumbnails
from index.vectors import FaissVectors, Floats, Vectors

INDEX = "index.faiss"
CATALOGUE = "catalogue.sqlite"
THUMBNAILS = "thumbnails.sqlite"
DIFFERENCES = "differences.jsonl"
CANARY_NEIGHBOURS = 5
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
