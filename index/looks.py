"""How pictures look without any model: a colour histogram, and a hash that copies share.

Both are made from the release's own thumbnails, of at most `LOOKED_AT` works by a fixed seed:
decoding takes 3 ms each.

Histogram: sRGB, 8 x 8 x 8 bins over the whole picture, the square roots of the shares, so that the
cosine of two is their Bhattacharyya coefficient.

Copies: the signs of the differences of neighbouring cells, to the right and below, on a grid of
12 x 12 grey cells: 242 bits (dHash, http://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html).
Two pictures are copies when at most 36 bits differ (15 %), a third's copies are each other's.
Chosen on 828 paintings: none of their 342,378 pairs is that near; JPEG 30, blur, greyscale and
another white balance are found always, a picture turned by 5 degrees in 6 %, crops, frames and
photographs on a wall hardly ever.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.catalogue import Entry
from index.release import Release
from index.space.ranking import SEED

T = TypeVar("T")

LOOKED_AT = 5000
_BINS = 8
_CELLS = 12
COPY_BITS = 36
_BLOCK = 1024


def looked_at(entries: Sequence[T], most: int = LOOKED_AT) -> list[T]:
    """All of them, or `most` drawn by a fixed seed, in their order."""
    if len(entries) <= most:
        return list(entries)
    rows = np.random.default_rng(SEED).choice(len(entries), most, replace=False)
    return [entries[row] for row in np.sort(rows).tolist()]


def pictures(release: Release, entries: Sequence[Entry]) -> Iterator[Image.Image]:
    """The thumbnails of works, RGB, in their order."""
    for entry in entries:
        yield Image.open(io.BytesIO(release.thumbnail(entry))).convert("RGB")


def colour_histogram(image: Image.Image) -> NDArray[np.float32]:
    """float32 (512,), unit norm."""
    cells = np.asarray(image).reshape(-1, 3) // (256 // _BINS)
    numbers = cells.astype(np.int64) @ np.array([_BINS * _BINS, _BINS, 1])
    shares = np.bincount(numbers, minlength=_BINS**3) / len(numbers)
    return np.sqrt(shares).astype(np.float32)


def copy_hash(image: Image.Image) -> NDArray[np.bool_]:
    """bool (242,)."""
    small = image.convert("L").resize((_CELLS, _CELLS), Image.Resampling.BOX)
    grey = np.asarray(small).astype(np.int16)
    right = grey[:-1, 1:] > grey[:-1, :-1]
    below = grey[1:, :-1] > grey[:-1, :-1]
    return np.concatenate([right.ravel(), below.ravel()])


def copies(hashes: NDArray[np.bool_]) -> list[str | None]:
    """The group of copies that each picture is in, None for one that has no copy."""
    bits = hashes.astype(np.float32) * 2 - 1
    group = np.arange(len(bits))
    before = np.full_like(group, -1)
    while (group != before).any():  # each takes the lowest number near it, until none is lower
        before = group.copy()
        for start in range(0, len(bits), _BLOCK):
            differing = (hashes.shape[1] - bits[start : start + _BLOCK] @ bits.T) / 2
            near = np.where(differing <= COPY_BITS, group, len(bits))
            group[start : start + _BLOCK] = near.min(axis=1)
    sizes = np.bincount(group, minlength=len(group))
    return [str(number) if sizes[number] > 1 else None for number in group.tolist()]
