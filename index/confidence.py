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

from index.catalogue import Entry
from index.space.model import ModelManifest
from index.vectors import Floats

NEIGHBOURS = 10
LEAST_QUERIES = 50
MOST_QUERIES = 2000
FALSE_POSITIVES = 0.05
TELLS = 3.0
_BLOCK = 256


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
    vectors: Floats, entries: Sequence[Entry], model: ModelManifest
) -> Confidence | None:
    """Learn from the works of a release.

    Args:
        vectors: float32 (works, dimension), unit norm.

    Returns:
        None where fewer than 50 works of a known class have not been seen by the model.
    """
    known = [entry for entry in entries if entry.label is not None]
    works = Counter(entry.label for entry in known)
    unseen = [
        row for row, entry in enumerate(known) if not entry.seen and works[entry.label] > NEIGHBOURS
    ]
    if len(unseen) < LEAST_QUERIES or len(works) < 2:
        return None
    if len(known) < len(entries):
        vectors = vectors[[entry.row for entry in known]]
    queries = np.random.default_rng(0).permutation(unseen)[:MOST_QUERIES]
    part = model.parts[0].name
    codes = np.unique([str(entry.label) for entry in known], return_inverse=True)[1]
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
    part = vectors[:, columns]
    norm = np.linalg.norm(part, axis=1)
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(queries), _BLOCK):
        rows = queries[start : start + _BLOCK]
        scores = vectors[rows] @ vectors.T
        scores[np.arange(len(rows)), rows] = -2  # itself
        near = np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        cosines = np.einsum("qd,qnd->qn", part[rows], part[near])
        cosines /= np.maximum(norm[rows, None] * norm[near], 1e-12)
        own = codes[None, :] == codes[rows, None]
        nearest = scores.max(axis=1)
        found.append((cosines, codes[near] == codes[rows, None], nearest, _other(scores, own)))
    return _Asked(*(np.concatenate(kind) for kind in zip(*found, strict=True)))


def _other(scores: Floats, own: NDArray[np.bool_]) -> Floats:
    others: Floats = np.where(own, -2, scores).max(axis=1)
    return others


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
