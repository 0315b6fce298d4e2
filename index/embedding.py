"""Pictures that are not known yet to vectors and thumbnails, kept as they come.

A few threads read and decode ahead, as many as the model has streams embed what they have
finished, and the caller's keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.archive import CHANGED_WHILE_READ
from index.catalogue import Entry
from index.collection import Work
from index.known import Embedded, Known
from index.parallel import parallel_map
from index.plan import Described, Planned
from index.progress import say, track
from index.reading import Picture, in_order, read_picture
from index.space.encoder import Encoder
from index.space.errors import ImageRejected
from index.thumbnails import make_thumbnail

BATCH = 8


class _Prepared(NamedTuple):
    picture: Picture
    pixels: NDArray[np.uint8]
    thumbnail: bytes


@dataclass
class Done:
    """What became of pictures.

    Args:
        embedded: how many.
        unusable: digests of files that cannot be used, with the reason.
        changed: rows whose files changed after the plan was made, and their new digests.
    """

    embedded: int = 0
    unusable: dict[str, ImageRejected] = field(default_factory=dict)
    changed: list[tuple[int, str]] = field(default_factory=list)


def embed(
    works: Iterable[Planned], total: int, encoder: Encoder, known: Known, is_last: bool = True
) -> Done:
    """Embed pictures with an encoder of batch 8 and keep what comes of it.

    Every file that cannot be used is said on a line of its own.

    Args:
        total: number of works, for the progress.
        is_last: whether a file that changes while it is read is given up; else it is left to be
            read again.

    Raises:
        OSError: the disk is full.
    """
    spec = encoder.model.manifest.preprocessing
    done = Done()

    def prepare(work: Planned) -> _Prepared:
        picture, pixels, image = read_picture(work.path, spec)
        return _Prepared(picture, pixels, make_thumbnail(image))

    def usable() -> Iterator[_Prepared]:
        for work, result in track(in_order(prepare, works), total, "embedding"):
            if isinstance(result, ImageRejected):
                if result.slug == CHANGED_WHILE_READ and not is_last:
                    continue
                done.unusable[work.sha256] = result
                say(f"skipped {work.name}: {result.slug}: {result}")
                continue
            if result.picture.sha256 != work.sha256:
                done.changed.append((work.row, result.picture.sha256))
            yield result

    def embedded(batch: list[_Prepared]) -> list[Embedded]:
        vectors = encoder.encode(np.stack([one.pixels for one in batch]))
        return [
            Embedded(
                one.picture.sha256,
                vector,
                one.thumbnail,
                one.picture.width,
                one.picture.height,
                one.picture.greyscale,
            )
            for one, vector in zip(batch, vectors, strict=True)
        ]

    for some in parallel_map(embedded, _batches(usable()), encoder.streams, encoder.streams):
        known.add(some)
        done.embedded += len(some)
    return done


def _batches(prepared: Iterator[_Prepared]) -> Iterator[list[_Prepared]]:
    while batch := list(islice(prepared, BATCH)):
        yield batch


def entry_of(row: int, work: Work | Described, picture: Picture | Embedded, seen: bool) -> Entry:
    """A work as the catalogue has it.

    Args:
        seen: whether the model was trained on its file.
    """
    return Entry(
        row=row,
        id=work.id,
        name=work.name,
        label=work.label,
        split=work.split,
        sha256=picture.sha256,
        seen=seen,
        greyscale=picture.greyscale,
        width=picture.width,
        height=picture.height,
        metadata=work.metadata,
    )
