"""A new release out of a plan and the pictures that are known: its files, one after the other.

Nothing here holds all works in memory: vectors wait in a mapped file, catalogue and thumbnails are
written row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Catalogue, Entry, write_catalogue
from index.confidence import Confidence, learn_confidence
from index.copies import near_copies
from index.known import Embedded, Known
from index.map import places
from index.plan import KINDS, Described, Plan
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
from index.space.encoder import PRECISION, Encoder
from index.space.model import Model
from index.thumbnails import thumbnail_writer
from index.vectors import FaissVectors, Floats, write_index

_VECTORS = "vectors.f32"  # while the release is being written


def write_release(
    folder: Path,
    id_: str,
    plan: Plan,
    known: Known,
    encoder: Encoder,
    found: Found,
    embedded: int,
    before: str | None,
    stages: Stages,
) -> ReleaseManifest:
    """Write every file of a release into its folder, the manifest last.

    Args:
        folder: empty; see `artefact.new_folder`.
        plan: whose pictures are all known, compared with the release `before`.
        embedded: pictures that were not known before this job.

    Raises:
        OSError: the disk is full.
    """
    model = encoder.model
    with stages("writing"):
        vectors = _gather(folder, plan, known, model)
        learnt = learn_confidence(vectors, *_labels(plan, model), model.manifest)
        placed = places(vectors, model.manifest)
        write_catalogue(folder / CATALOGUE, _entries(plan, known, model), placed)
        write_index(folder / INDEX, vectors)
        del vectors
        (folder / _VECTORS).unlink()
        counts = _write_differences(folder / DIFFERENCES, plan)
    with closing(Catalogue(folder / CATALOGUE)) as catalogue, stages("asking"):
        written = FaissVectors.load(folder / INDEX, mapped=True)
        canaries = ask_canaries(encoder.encode(model.canaries()[0]), written, catalogue)
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
    manifest = _manifest(id_, model, plan, found, canaries, learnt, report)
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


def _gather(folder: Path, plan: Plan, known: Known, model: Model) -> Floats:
    """Write the thumbnails; return the vectors, float32 (works, dimension), in a mapped file."""
    shape = len(plan), model.manifest.dimension
    vectors = np.memmap(folder / _VECTORS, np.float32, "w+", shape=shape)
    with thumbnail_writer(folder / THUMBNAILS) as add_thumbnail:
        for row, work in enumerate(plan.described()):
            picture = known.get(work.sha256)
            vectors[row] = picture.vector
            add_thumbnail(row, picture.thumbnail)
    return vectors


def _labels(plan: Plan, model: Model) -> tuple[list[str | None], NDArray[np.bool_]]:
    """Class of every work, and whether the model has seen it: a few bytes a work."""
    seen = model.seen_works()
    names: dict[str | None, str | None] = {}
    labels = [names.setdefault(work.label, work.label) for work in plan.described()]
    return labels, np.fromiter((work.sha256 in seen for work in plan.described()), np.bool_)


def _entries(plan: Plan, known: Known, model: Model) -> Iterator[Entry]:
    seen = model.seen_works()
    for row, work in enumerate(plan.described()):
        yield _entry(row, work, known.get(work.sha256), work.sha256 in seen)


def _entry(row: int, work: Described, picture: Embedded, seen: bool) -> Entry:
    return Entry(
        row=row,
        id=work.id,
        name=work.name,
        label=work.label,
        split=work.split,
        sha256=work.sha256,
        seen=seen,
        greyscale=picture.greyscale,
        width=picture.width,
        height=picture.height,
        metadata=work.metadata,
    )
