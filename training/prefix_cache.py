"""The frozen prefix's output, computed once a phase and trained from instead of the pixels.

As float16 on disk: an epoch of the last block costs a small share of one through the whole
network, and memory does not grow with the collection. A mirrored copy is kept beside it where the
recipe mirrors; any other augmentation of pixels would forbid the cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from index.progress import track
from index.space.artefact import new_file
from index.space.errors import BadInput

_BATCH = 64


class Views(Protocol):
    """What a phase trains from: pictures before the cut, as they are (0) or mirrored (1)."""

    def batch(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> NDArray[Any]:
        """Inputs of the trained part, (len(rows), ...), each row mirrored or not."""


class PixelViews:
    """The pictures themselves: nothing is frozen, so nothing can be cached."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def batch(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> NDArray[Any]:
        """uint8 (n, height, width, 3)."""
        pictures = self._pixels[rows]
        pictures[mirrored] = pictures[mirrored, :, ::-1]
        return pictures


class CachedViews:
    """The prefix's outputs, float16 (views, works, ...) on disk."""

    def __init__(self, features: NDArray[np.float16]) -> None:
        self._features = features

    def batch(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> NDArray[Any]:
        """float32 (n, ...)."""
        return self._features[mirrored.astype(np.int64), rows].astype(np.float32)


def cache_prefix(
    network: keras.Model, output: Any, pixels: NDArray[np.uint8], mirror: bool, path: Path
) -> CachedViews:
    """Run every picture through the frozen prefix, or take what an interrupted run left.

    Args:
        output: the prefix's last tensor.
        path: where the numbers go; it appears only when they are all there.

    Raises:
        BadInput: no room for them.
    """
    shape = (1 + mirror, len(pixels), *output.shape[1:])
    size = int(np.prod(shape)) * 2
    if not path.exists() or path.stat().st_size != size:
        _check_room(path, size)
        prefix = keras.Model(network.input, output)
        with new_file(path) as partial, partial.open("wb") as file:
            batches = shape[0] * -(-len(pixels) // _BATCH)
            for chunk in track(_outputs(prefix, pixels, mirror), batches, "caching frozen layers"):
                file.write(chunk.tobytes())
    return CachedViews(np.memmap(path, np.float16, "r", shape=shape))


def _outputs(
    prefix: keras.Model, pixels: NDArray[np.uint8], mirror: bool
) -> Iterator[NDArray[np.float16]]:
    for step in (1, -1) if mirror else (1,):
        for start in range(0, len(pixels), _BATCH):
            chunk = np.ascontiguousarray(pixels[start : start + _BATCH, :, ::step])
            yield np.asarray(prefix.predict_on_batch(chunk)).astype(np.float16)


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise BadInput(
            f"{path.parent} must have {needed / 1e9:.1f} GB free to cache the frozen layers; it "
            f"has {free / 1e9:.1f} GB"
        )
