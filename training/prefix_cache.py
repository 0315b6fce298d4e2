"""The frozen prefix's output, computed once a phase and trained from instead of the pixels.

As float16 on disk: an epoch of the last block costs a small share of one through the whole
network, and memory does not grow with the collection. It holds a fixed number of views of each
picture (`training/augment.py`): what changes pixels anew each epoch forbids the cache.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from index.progress import track
from index.space.errors import BadInput
from training.augment import fixed_view, varied

_BATCH = 64
Inputs = NDArray[Any] | list[NDArray[Any]]


class Views(Protocol):
    """What a phase trains from: pictures before the cut."""

    def plain(self, rows: NDArray[np.int64]) -> Inputs:
        """Inputs of the trained part, (len(rows), ...), or a list of them: as pictures are."""

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Inputs:
        """The same, each picture in one of its views."""


class PixelViews:
    """The pictures themselves: nothing is frozen, so nothing can be cached.

    Args:
        pixels: uint8 (works, height, width, 3).
        views: see `training.recipe.Recipe`.
    """

    def __init__(self, pixels: NDArray[np.uint8], views: int) -> None:
        self._pixels = pixels
        self._views = views

    def plain(self, rows: NDArray[np.int64]) -> Inputs:
        """uint8 (n, height, width, 3)."""
        return self._pixels[rows]

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Inputs:
        """uint8 (n, height, width, 3)."""
        return varied(self._pixels[rows], self._views, rng)


class CachedViews:
    """The prefix's outputs.

    Args:
        features: float16 (views, works, numbers), each row all tensors of a picture, flat.
        shapes: of those tensors.
    """

    def __init__(self, features: NDArray[np.float16], shapes: list[tuple[int, ...]]) -> None:
        self._features = features
        self._shapes = shapes

    def plain(self, rows: NDArray[np.int64]) -> Inputs:
        """float32 (n, ...)."""
        return self._inputs(np.zeros(len(rows), np.int64), rows)

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Inputs:
        """float32 (n, ...)."""
        views = len(self._features)
        if views == 1:
            return self.plain(rows)
        return self._inputs(views - 1 - (rng.random(len(rows)) * views).astype(np.int64), rows)

    def _inputs(self, views: NDArray[np.int64], rows: NDArray[np.int64]) -> Inputs:
        flat = self._features[views, rows].astype(np.float32)
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        parts = [
            part.reshape(-1, *shape)
            for part, shape in zip(np.split(flat, ends, axis=1), self._shapes, strict=True)
        ]
        return parts if len(parts) > 1 else parts[0]


def cache_prefix(
    model: keras.Model, pixels: NDArray[np.uint8], views: int, path: Path
) -> CachedViews:
    """Run every view of every picture through frozen layers, or take what an earlier run left.

    Args:
        model: pixels to one tensor or several.
        path: where the numbers go; it appears only when they are all there.

    Raises:
        BadInput: no room for them.
    """
    shapes = [tuple(output.shape[1:]) for output in model.outputs]
    width = sum(math.prod(shape) for shape in shapes)
    shape = (views, len(pixels), width)
    if not path.exists():
        _check_room(path, math.prod(shape) * 2)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            batches = views * -(-len(pixels) // _BATCH)
            for chunk in track(_outputs(model, pixels, views), batches, "running frozen layers"):
                file.write(chunk.tobytes())
        partial.rename(path)
    return CachedViews(np.memmap(path, np.float16, "r", shape=shape), shapes)


def _outputs(
    model: keras.Model, pixels: NDArray[np.uint8], views: int
) -> Iterator[NDArray[np.float16]]:
    for view in range(views):
        for start in range(0, len(pixels), _BATCH):
            chunk = fixed_view(np.asarray(pixels[start : start + _BATCH]), view, start)
            outputs = model.predict_on_batch(chunk)
            tensors = outputs if isinstance(outputs, list) else [outputs]
            flat = [np.asarray(tensor).reshape(len(chunk), -1) for tensor in tensors]
            yield np.concatenate(flat, axis=1).astype(np.float16)


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise BadInput(
            f"{path.parent} must have {needed / 1e9:.1f} GB free to cache the frozen layers; it "
            f"has {free / 1e9:.1f} GB"
        )
