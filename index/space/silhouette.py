"""Mean silhouette of labelled embeddings by Euclidean and by cosine distance.

    s(i) = (b - a) / max(a, b),  a: mean distance to the others of its class,
                                 b: the smallest mean distance to another class

Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53-65; a class of one counts as 0, as in scikit-learn.
Of many works a sample is asked, each against all the others, so every s(i) is that of all works.
In float64, since float32 leaves equal vectors 1e-4 apart; of a sample in float32, whose error is a
thousandth of the sample's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**22  # distances held at once, 32 MB
_EUCLIDEAN, _COSINE = 0, 1
_SAME = 50  # roundings: vectors with a cosine no further from 1 are equal

Doubles = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Silhouette:
    """Both means, or None where they are not defined, which `reason` explains.

    Args:
        by_class: the Euclidean and the cosine mean over the rows asked of each class; None of a
            class that none was asked of.
    """

    euclidean: float | None
    cosine: float | None
    by_class: tuple[tuple[float | None, float | None], ...]
    reason: str | None = None


def silhouette(
    embeddings: NDArray[np.float32], codes: NDArray[np.int64], asked: NDArray[np.int64]
) -> Silhouette:
    """Mean silhouettes over the rows `asked`.

    Args:
        embeddings: float32 of shape (works, dimension); of any norm above 0.
        codes: int64 of shape (works,): 0..classes - 1, none left out.
    """
    classes = int(codes.max(initial=-1)) + 1
    if classes < 2:
        return _undefined(classes, "a silhouette needs two classes at least")
    if classes == len(codes):
        return _undefined(classes, "a silhouette needs a class of two works at least")
    by_class = np.argsort(codes, kind="stable")
    exact = np.float64 if len(asked) == len(codes) else np.float32
    points: Floats = embeddings[by_class].astype(exact, copy=False)
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    if not norms.all():
        return _undefined(classes, "a vector has norm 0, and so no direction")
    points /= norms
    scores = _scores(points, codes[by_class], np.argsort(by_class)[asked])
    of_class = (scores[:, codes[asked] == code] for code in range(classes))
    return Silhouette(*_means(scores), tuple(map(_means, of_class)))


def _undefined(classes: int, reason: str) -> Silhouette:
    return Silhouette(None, None, ((None, None),) * classes, reason)


def _means(scores: Doubles) -> tuple[float | None, float | None]:
    if scores.size == 0:
        return None, None
    euclidean, cosine = scores.mean(axis=1).tolist()
    return euclidean, cosine


def _scores(points: Floats, codes: NDArray[np.int64], asked: NDArray[np.int64]) -> Doubles:
    """s of the rows asked, (2, asked); points and codes in the order of the classes."""
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    scores = np.empty((2, len(asked)))
    same = _SAME * np.finfo(points.dtype).eps
    rows = max(_BLOCK // len(points), 1)
    block = np.empty((rows, len(points)), points.dtype)
    for start in range(0, len(asked), rows):
        chunk = asked[start : start + rows]
        # In place, one array for all: fresh ones of this size cost more than the arithmetic.
        distance = np.matmul(points[chunk], points.T, out=block[: len(chunk)])
        np.subtract(1, distance, out=distance)
        distance[distance < same] = 0
        distance[np.arange(len(chunk)), chunk] = 0
        for kind in (_COSINE, _EUCLIDEAN):
            if kind == _EUCLIDEAN:  # of unit vectors: |a - b|^2 = 2 (1 - a.b)
                np.sqrt(np.multiply(distance, 2, out=distance), out=distance)
            sums = np.add.reduceat(distance, starts, axis=1, dtype=np.float64)
            scores[kind, start : start + rows] = _of(sums, codes[chunk], sizes)
    return scores


def _of(sums: Doubles, own: NDArray[np.int64], sizes: NDArray[np.int64]) -> Doubles:
    """s of each row; sums are distances to each class, (rows, classes)."""
    rows = np.arange(len(own))
    inside = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    outside = means.min(axis=1)
    scale = np.maximum(inside, outside)
    score = np.divide(outside - inside, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(sizes[own] > 1, score, 0.0)
