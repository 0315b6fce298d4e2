"""The frozen prefix's output, computed once a phase and trained from instead of the pixels.

As float16 on disk: an epoch of the last block costs a small share of one through the whole
network, and memory does not grow with it. It holds a fixed number of views of each
picture (`training/augment.py`): what changes pixels anew each epoch forbids the cache.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from index.progress import track
from index.space.artefact import new_file
from index.space.errors import BadInput
from training.augment import fixed_view, varied
from training.inference import compiled

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
        size: side of the varied pictures, their own where it is None.
    """

    def __init__(self, pixels: NDArray[np.uint8], views: int, size: int | None = None) -> None:
        self._pixels = pixels
        self._views = views
        self._size = size

    def plain(self, rows: NDArray[np.int64]) -> Inputs:
        """uint8 (n, height, width, 3)."""
        return self._pixels[rows]

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Inputs:
        """uint8 (n, height, width, 3), or (n, size, size, 3)."""
        return varied(self._pixels[rows], self._views, rng, self._size)


class CachedViews:
    """The prefix's outputs.

    Args:
        features: float16 (works + (views - 1) * varied works, numbers), each row all tensors of a
            picture, flat: first every work as it is, then the other views, one after the other.
        shapes: of those tensors.
        works: how many.
        varied: rows of the works that have other views, ascending.
    """

    def __init__(
        self,
        features: NDArray[np.float16],
        shapes: list[tuple[int, ...]],
        works: int,
        varied: NDArray[np.int64],
    ) -> None:
        self._features = features
        self._shapes = shapes
        self._works = works
        self._varied = varied
        self._views = 1 + (len(features) - works) // max(len(varied), 1)

    def plain(self, rows: NDArray[np.int64]) -> Inputs:
        """float32 (n, ...)."""
        flat = self._features[rows].astype(np.float32)
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        tensors = [
            part.reshape(-1, *shape)
            for part, shape in zip(np.split(flat, ends, axis=1), self._shapes, strict=True)
        ]
        return tensors if len(tensors) > 1 else tensors[0]

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Inputs:
        """float32 (n, ...)."""
        view = rng.integers(0, self._views, len(rows))
        at = self._works + (view - 1) * len(self._varied) + np.searchsorted(self._varied, rows)
        return self.plain(np.where(view == 0, rows, at))


def cache_prefix(
    prefixes: Mapping[Path, keras.Model],
    pixels: NDArray[np.uint8],
    views: int = 1,
    varied: NDArray[np.int64] | None = None,
) -> CachedViews:
    """Run pictures through frozen layers, or take what an earlier run left.

    Args:
        prefixes: uint8 pixels to one tensor or several, by the file where the numbers go, which
            appears only when they are all there. Those that are missing are made in one run.
        pixels: uint8 (works, height, width, 3).
        views: see `training.recipe.Recipe`; every work has the first.
        varied: rows of the works that have all of them (what is trained on), ascending.

    Returns:
        The views behind the first prefix.

    Raises:
        BadInput: no room for them.
    """
    rows = np.zeros(0, np.int64) if varied is None else varied
    count = len(pixels) + (views - 1) * len(rows)
    sizes = {path: 2 * count * sum(_widths(prefix)) for path, prefix in prefixes.items()}
    missing = {
        path: prefixes[path]
        for path, size in sizes.items()
        if not path.exists() or path.stat().st_size != size
    }
    if missing:
        _check_room(next(iter(missing)).parent, sum(sizes[path] for path in missing))
        batches = -(-len(pixels) // _BATCH) + (views - 1) * -(-len(rows) // _BATCH)
        _write(missing, track(_pictures(pixels, views, rows), batches, "running frozen layers"))
    path, prefix = next(iter(prefixes.items()))
    features = np.memmap(path, np.float16, "r", shape=(count, sum(_widths(prefix))))
    shapes = [tuple(output.shape[1:]) for output in prefix.outputs]
    return CachedViews(features, shapes, len(pixels), rows)


def _pictures(
    pixels: NDArray[np.uint8], views: int, varied: NDArray[np.int64]
) -> Iterator[NDArray[np.uint8]]:
    for view in range(views):
        rows = np.arange(len(pixels)) if view == 0 else varied
        for start in range(0, len(rows), _BATCH):
            yield fixed_view(np.asarray(pixels[rows[start : start + _BATCH]]), view, start)


def _write(prefixes: Mapping[Path, keras.Model], batches: Iterable[NDArray[np.uint8]]) -> None:
    every = list(prefixes.values())
    flat = [keras.layers.Flatten()(tensor) for prefix in every for tensor in prefix.outputs]
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    run = compiled(keras.Model(every[0].input, joined))
    ends = np.cumsum([sum(_widths(prefix)) for prefix in every])[:-1]
    with ExitStack() as stack:
        partial = [stack.enter_context(new_file(path)) for path in prefixes]
        files = [stack.enter_context(path.open("wb")) for path in partial]
        for batch in batches:
            parts = np.split(run(batch).astype(np.float16), ends, axis=1)
            for file, part in zip(files, parts, strict=True):
                file.write(part.tobytes())


def _widths(prefix: keras.Model) -> list[int]:
    return [math.prod(output.shape[1:]) for output in prefix.outputs]


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise BadInput(
            f"{path.parent} must have {needed / 1e9:.1f} GB free to cache the frozen layers; it "
            f"has {free / 1e9:.1f} GB"
        )
