"""How far an answer can be trusted, learnt from the collection itself when it is indexed.

Works that the model has never seen, and whose class is known, ask all others as a visitor's picture
would. Two things come of it. A neighbour's confidence: the chance that it is of the query's class,
a logistic curve over the cosine of the style part (Platt, 1999). And when nothing in the collection
is like a picture: its nearest work is farther away than all but one in twenty of those pictures
find theirs whose class is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from index.space.model import ModelManifest
from index.vectors import Floats

NEIGHBOURS = 10
LEAST_QUERIES = 50
MOST_QUERIES = 2000
FALSE_POSITIVES = 0.05
TELLS = 3.0
_NUMBERS = 500_000  # scores held at once


class Confidence(BaseModel):
    """What was learnt, and how good it is.

    Args:
        part: of the embedding, whose cosine the confidence is made of.
        slope, intercept: confidence = 1 / (1 + exp(-(slope * cosine + intercept))).
        error: mean difference between the confidence said and the share that was right, over ten
            groups of neighbours alike in confidence, of works that it was not learnt from.
        threshold: a picture whose nearest work has a lower cosine is like nothing here; None where
            that would be said of strangers hardly more often than of others.
        false_positives: share of the pictures with their own class there of which that is said,
            of works that the threshold was not chosen on.
        found: share of the pictures whose own class was taken away of which it is said.
        queries: works that asked.
    """

    model_config = ConfigDict(extra="forbid")

    part: str
    slope: float
    intercept: float
    error: float
    threshold: float | None
    false_positives: float
    found: float
    queries: int

    def of(self, cosine: Any) -> Any:
        """Confidence of cosines of the part, from 0 to 1."""
        return 1 / (1 + np.exp(-(self.slope * np.asarray(cosine) + self.intercept)))


@dataclass(frozen=True)
class _Asked:
    """What queries found: (queries, NEIGHBOURS) cosines of the part and whether the class was
    theirs; (queries,) cosines of the nearest work, and of the nearest of another class."""

    cosines: Floats
    right: NDArray[np.bool_]
    nearest: Floats
    nearest_other: Floats

    def half(self, which: slice) -> _Asked:
        return _Asked(
            self.cosines[which], self.right[which], self.nearest[which], self.nearest_other[which]
        )


def learn_confidence(
    vectors: Floats, labels: Sequence[str | None], seen: NDArray[np.bool_], model: ModelManifest
) -> Confidence | None:
    """Learn from the works of a release.

    Args:
        vectors: float32 (works, dimension), unit norm; it may be a memory-mapped file.
        labels: class of every work, or None.
        seen: whether the model was trained on it.

    Returns:
        None where fewer than 50 works of a known class have not been seen by the model.
    """
    works = Counter(label for label in labels if label is not None)
    unseen = [
        row
        for row, label in enumerate(labels)
        if label is not None and not seen[row] and works[label] > NEIGHBOURS
    ]
    if len(unseen) < LEAST_QUERIES or len(works) < 2:
        return None
    queries = np.random.default_rng(0).permutation(unseen)[:MOST_QUERIES]
    part = model.parts[0].name
    numbers = {label: number for number, label in enumerate(sorted(works))}
    codes = np.fromiter((numbers.get(label or "", -1) for label in labels), np.int64)
    asked = _ask(vectors, codes, queries, model.columns(part))
    halves = asked.half(slice(None, None, 2)), asked.half(slice(1, None, 2))
    slope, intercept = _logistic(asked)
    crossed = list(zip(halves, reversed(halves), strict=True))
    threshold = _threshold(asked)
    false = np.mean([(other.nearest < _threshold(one)).mean() for one, other in crossed])
    found = float((asked.nearest_other < threshold).mean())
    return Confidence(
        part=part,
        slope=slope,
        intercept=intercept,
        error=float(np.mean([_error(*_logistic(one), other) for one, other in crossed])),
        threshold=threshold if found > TELLS * false else None,
        false_positives=float(false),
        found=found,
        queries=len(queries),
    )


def _ask(
    vectors: Floats, codes: NDArray[np.int64], queries: NDArray[np.int64], columns: slice
) -> _Asked:
    """Ask, so many at once that memory does not grow with the works."""
    unlabelled = np.flatnonzero(codes < 0)
    found: list[tuple[Any, ...]] = []
    block = max(1, _NUMBERS // len(vectors))
    for start in range(0, len(queries), block):
        rows = queries[start : start + block]
        scores = np.asarray(vectors[rows] @ vectors.T)
        scores[np.arange(len(rows)), rows] = -2  # itself
        scores[:, unlabelled] = -2
        near = np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        nearest = scores.max(axis=1)
        right = codes[near] == codes[rows, None]
        scores[codes[None, :] == codes[rows, None]] = -2
        cosines = _cosines(vectors[rows][:, columns], vectors[near][:, :, columns])
        found.append((cosines, right, nearest, scores.max(axis=1)))
    return _Asked(*(np.concatenate(kind) for kind in zip(*found, strict=True)))


def _cosines(queries: Floats, near: Floats) -> Floats:
    """Of queries (q, d) with their neighbours (q, n, d)."""
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(near, axis=2)
    found: Floats = np.einsum("qd,qnd->qn", queries, near) / np.maximum(norms, 1e-12)
    return found


def _logistic(asked: _Asked) -> tuple[float, float]:
    """Slope and intercept of the likeliest logistic curve, by Newton's method."""
    x = np.stack([asked.cosines.ravel(), np.ones(asked.cosines.size)], axis=1).astype(np.float64)
    y = asked.right.ravel().astype(np.float64)
    weights = np.zeros(2)
    for _ in range(50):
        said = 1 / (1 + np.exp(-(x @ weights)))
        # A little pulls towards 0, without which perfectly parted classes have no likeliest curve.
        gradient = x.T @ (said - y) + 1e-3 * weights
        curvature = (x * (said * (1 - said))[:, None]).T @ x + 1e-3 * np.eye(2)
        weights -= np.linalg.solve(curvature, gradient)
    return float(weights[0]), float(weights[1])


def _error(slope: float, intercept: float, asked: _Asked) -> float:
    """Expected calibration error in ten groups of equal size (Naeini et al., AAAI 2015)."""
    said = 1 / (1 + np.exp(-(slope * asked.cosines.ravel() + intercept)))
    order = np.argsort(said)
    right = asked.right.ravel()
    groups = [group for group in np.array_split(order, 10) if len(group)]
    gaps = [abs(said[group].mean() - right[group].mean()) * len(group) for group in groups]
    return float(np.sum(gaps) / len(order))


def _threshold(asked: _Asked) -> float:
    return float(np.quantile(asked.nearest, FALSE_POSITIVES))
