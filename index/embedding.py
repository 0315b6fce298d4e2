"""Works to vectors, catalogue entries and thumbnails, numbered together as they come.

A work gets its row when its picture turns out usable, so a skipped file moves nobody's title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Entry
from index.collection import Work
from index.progress import say, track
from index.reading import BadFile, Picture, in_order, read_picture
from index.space.encoder import Encoder
from index.space.errors import ImageRejected
from index.thumbnails import make_thumbnail, thumbnail_writer

BATCH = 16


@dataclass(frozen=True)
class Embedded:
    """What became of a collection's works: those embedded, in row order, and the bad ones.

    Args:
        vectors: float32 (len(entries), dimension), unit norm.
    """

    entries: list[Entry]
    vectors: NDArray[np.float32]
    bad: list[BadFile]


def embed(works: Sequence[Work], encoder: Encoder, thumbnails: Path) -> Embedded:
    """Embed works with an encoder of batch 16, and write their thumbnails to a new file.

    A few threads decode ahead while the encoder works (`reading.in_order`). Every file that
    cannot be used is said on a line of its own.
    """
    spec = encoder.model.manifest.preprocessing
    seen = encoder.model.seen_works()
    entries: list[Entry] = []
    bad: list[BadFile] = []
    batches = _Batches(encoder, len(works))

    def prepare(work: Work) -> tuple[Picture, NDArray[np.uint8], bytes]:
        picture, pixels, image = read_picture(work.path, spec)
        return picture, pixels, make_thumbnail(image)

    with thumbnail_writer(thumbnails) as add_thumbnail:
        for work, result in track(in_order(prepare, works), len(works), "embedding"):
            if isinstance(result, ImageRejected):
                bad.append(BadFile(name=work.name, reason=result.slug, message=str(result)))
                say(f"skipped {work.name}: {result.slug}: {result}")
                continue
            picture, pixels, thumbnail = result
            add_thumbnail(len(entries), thumbnail)
            entries.append(entry_of(len(entries), work, picture, picture.sha256 in seen))
            batches.add(pixels)
    return Embedded(entries, batches.vectors(), bad)


class _Batches:
    """Collects pixels and embeds them a batch at a time into one array made beforehand."""

    def __init__(self, encoder: Encoder, works: int) -> None:
        self._encoder = encoder
        self._vectors = np.empty((works, encoder.model.manifest.dimension), np.float32)
        self._done = 0
        self._waiting: list[NDArray[np.uint8]] = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        self._waiting.append(pixels)
        if len(self._waiting) == BATCH:
            self._embed_waiting()

    def vectors(self) -> NDArray[np.float32]:
        if self._waiting:
            self._embed_waiting()
        return self._vectors[: self._done]

    def _embed_waiting(self) -> None:
        end = self._done + len(self._waiting)
        self._vectors[self._done : end] = self._encoder.encode(np.stack(self._waiting))
        self._done = end
        self._waiting.clear()


def entry_of(row: int, work: Work, picture: Picture, seen: bool) -> Entry:
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
