"""How pictures look without any model: a colour histogram, and a hash that copies share.

Both are made from the release's own thumbnails, of at most `LOOKED_AT` works by a fixed seed:
decoding takes 3 ms each.

Histogram: sRGB, 8 x 8 x 8 bins over the whole picture, the square roots of the shares, so that the
cosine of two is their Bhattacharyya coefficient.

Copies: the differences of neighbouring cells, to the right and below, on a grid of 24 x 24 grey
cells without the plane that fits them best (a light from one side), each from -10 to 10 grey levels
at most, so that the outline of a thing on a plain ground counts no more than what is inside it
(dHash, http://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html, keeps their signs,
and calls all things on white ground copies of each other). Two pictures are copies when the cosine
of these is 0.7 at least; a third's copies are each other's. Chosen on 4,974 paintings: of their
12,367,851 pairs five are that near, other scans of one painting each time, and the nearest two that
are different works have 0.56; JPEG 30, blur, greyscale and another white balance have 0.92 in 99 of
100 cases, a picture turned by 5 degrees, crops, frames and photographs on a wall hardly ever 0.7. A
picture with little in it, a few lines on paper or a small thing on a plain ground, is no copy.
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
_CELLS = 24
_LEVELS = 10
# Norm of the differences below which there is too little to compare; of 100 paintings 99 have 15.
_FAINTEST = 12.0
COPY_COSINE = 0.7
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


def copy_sketch(image: Image.Image) -> NDArray[np.int8]:
    """int8 (1104,), from -100 to 100."""
    small = image.convert("L").resize((_CELLS, _CELLS), Image.Resampling.BOX)
    grey = np.asarray(small).astype(np.float32)
    grey = (grey.ravel() - _PLANES @ (_PLANES.T @ grey.ravel())).reshape(grey.shape)
    right, below = np.diff(grey, axis=1), np.diff(grey, axis=0)
    levels = np.concatenate([right.ravel(), below.ravel()]).clip(-_LEVELS, _LEVELS)
    return (levels * (100 / _LEVELS)).round().astype(np.int8)


def copies(sketches: NDArray[np.int8]) -> list[str | None]:
    """The group of copies that each picture is in, None for one that has no copy.

    Args:
        sketches: (n, 1104), see `copy_sketch`.
    """
    group = list(range(len(sketches)))

    def first(row: int) -> int:
        while group[row] != row:
            row = group[row]
        return row

    for start in range(0, len(sketches), _BLOCK):
        block = _unit(sketches[start : start + _BLOCK])
        for other in range(start, len(sketches), _BLOCK):
            near = block @ _unit(sketches[other : other + _BLOCK]).T >= COPY_COSINE
            for a, b in np.argwhere(near).tolist():
                low, high = sorted((first(start + a), first(other + b)))
                group[high] = low
    members = [first(row) for row in range(len(group))]
    sizes = np.bincount(members, minlength=len(group))
    return [str(number) if sizes[number] > 1 else None for number in members]


def _unit(sketches: NDArray[np.int8]) -> NDArray[np.float32]:
    """Unit norm, or less where there is little to see."""
    levels = sketches.astype(np.float32) / 100
    unit: NDArray[np.float32] = levels / np.maximum(
        np.linalg.norm(levels, axis=1, keepdims=True), _FAINTEST
    )
    return unit


def _planes() -> NDArray[np.float32]:
    """(576, 3): an orthonormal base of all planes over the grid."""
    down, across = np.mgrid[:_CELLS, :_CELLS]
    planes = np.stack([np.ones(_CELLS**2), down.ravel(), across.ravel()], axis=1)
    return np.linalg.qr(planes)[0].astype(np.float32)


_PLANES = _planes()
