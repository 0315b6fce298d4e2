"""A new release out of a plan and the pictures that are known: its files, one after the other.

Nothing here holds all works in memory: vectors wait in a mapped file, catalogue and thumbnails are
written row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue, Entry, write_catalogue
from index.confidence import Confidence, learn_confidence
from index.copies import near_copies
from index.embedding import entry_of
from index.known import Known
from index.map import places
from index.plan import KINDS, Plan
from index.release import (
    CATALOGUE,
    DIFFERENCES,
    INDEX,
    THUMBNAILS,
    Canary,
    ReleaseManifest,
    ask_canaries,
)
from index.report import Report, Stages, exact_copies
from index.source import Found
from index.space.artefact import write_manifest
from index.space.encoder import PRECISION
from index.space.model import Model
from index.thumbnails import thumbnail_writer
from index.vectors import FaissVectors, Floats, write_index

_VECTORS = "vectors.f32"  # while the release is being written


@contextmanager
def write_works(
    folder: Path,
    works: Iterable[tuple[Entry, Floats, bytes]],
    shape: tuple[int, int],
    place: Callable[[Floats], Iterable[Any]],
) -> Iterator[Floats]:
    """Write the catalogue, thumbnails and index of works in one pass.

    Args:
        works: entries of rows 0..n-1 in order, with their vectors and thumbnails.
        shape: number of works, and dimension.
        place: from all vectors to each work's x and y on the map.

    Yields:
        The vectors, float32 of that shape, in a mapped file that is gone when the block ends.

    Raises:
        OSError: the disk is full.
    """
    vectors = np.memmap(folder / _VECTORS, np.float32, "w+", shape=shape)

    def entries() -> Iterator[Entry]:
        for entry, vector, thumbnail in works:
            vectors[entry.row] = vector
            add_thumbnail(entry.row, thumbnail)
            yield entry

    def placed() -> Iterator[Any]:  # asked for after the last entry
        yield from place(vectors)

    with thumbnail_writer(folder / THUMBNAILS) as add_thumbnail:
        write_catalogue(folder / CATALOGUE, entries(), placed())
    write_index(folder / INDEX, vectors)
    yield vectors
    (folder / _VECTORS).unlink()


def write_release(
    folder: Path,
    id_: str,
    plan: Plan,
    known: Known,
    model: Model,
    canaries: Floats,
    found: Found,
    embedded: int,
    before: str | None,
    stages: Stages,
) -> ReleaseManifest:
    """Write every file of a release into its folder, the manifest last.

    Args:
        folder: empty; see `artefact.new_folder`.
        plan: whose pictures are all known, compared with the release `before`.
        canaries: the vectors of the model's canaries, float32 (canaries, dimension).
        embedded: pictures that were not known before this job.

    Raises:
        OSError: the disk is full.
    """
    shape = len(plan), model.manifest.dimension
    seen = model.seen_works()
    with (
        stages("writing"),
        write_works(
            folder, _works(plan, known, seen), shape, partial(places, model=model.manifest)
        ) as vectors,
    ):
        learnt = learn_confidence(vectors, *_labels(plan, seen), model.manifest)
        counts = _write_differences(folder / DIFFERENCES, plan)
    with closing(Catalogue(folder / CATALOGUE)) as catalogue, stages("asking"):
        written = FaissVectors.load(folder / INDEX, mapped=True)
        asked = ask_canaries(canaries, written, catalogue)
        near = near_copies(written, catalogue, plan.new_rows(), model)
    took = stages.seconds.get("embedding")
    report = Report(
        before=before,
        works=counts,
        embedded=embedded,
        exact_copies=exact_copies(plan),
        near_copies=near,
        seconds=stages.seconds,
        images_a_second=round(embedded / took, 2) if embedded and took else None,
    )
    manifest = _manifest(id_, model, plan, found, asked, learnt, report)
    write_manifest(folder, manifest)
    return manifest


def _manifest(
    id_: str,
    model: Model,
    plan: Plan,
    found: Found,
    canaries: list[Canary],
    confidence: Confidence | None,
    report: Report,
) -> ReleaseManifest:
    return ReleaseManifest(
        files={},
        id=id_,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model.version,
        model_digest=model.digest,
        preprocessing_version=model.manifest.preprocessing.version,
        precision=PRECISION,
        dimension=model.manifest.dimension,
        parts=model.manifest.parts,
        metric=model.manifest.metric,
        works=len(plan),
        left_out=found.left_out,
        bad=found.bad,
        canaries=canaries,
        confidence=confidence,
        report=report,
    )


def _write_differences(path: Path, plan: Plan) -> dict[str, int]:
    counts = dict.fromkeys(KINDS, 0)
    with path.open("w", encoding="utf-8") as lines:
        for difference in plan.differences():
            counts[difference.kind] += 1
            lines.write(difference.as_json() + "\n")
    return counts


def _works(plan: Plan, known: Known, seen: frozenset[str]) -> Iterator[tuple[Entry, Floats, bytes]]:
    for row, work in enumerate(plan.described()):
        picture = known.get(work.sha256)
        entry = entry_of(row, work, picture, work.sha256 in seen)
        yield entry, picture.vector, picture.thumbnail


def _labels(plan: Plan, seen: frozenset[str]) -> tuple[list[str | None], NDArray[np.bool_]]:
    """Class of every work, and whether the model has seen it: a few bytes a work."""
    names: dict[str | None, str | None] = {}
    found = [(names.setdefault(w.label, w.label), w.sha256 in seen) for w in plan.described()]
    return [label for label, _ in found], np.asarray([is_seen for _, is_seen in found], np.bool_)
