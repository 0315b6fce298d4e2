"""Precision@k and silhouette: one implementation for training, `artkin evaluate` and the service.

Precision@k is leave-one-out by cosine: every labelled work queries all the others, itself
dropped by its row and never as "the first hit" (a duplicate may stand there). The denominator is
k, or the number of other works where fewer than k exist. A class with fewer than k + 1 works
cannot reach 1.0; such classes are named in the result, not left out.

    P@k = mean over queries q of |{n in top_k(q): label(n) = label(q)}| / min(k, works - 1)

Silhouette: Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53-65; classes of one work count as 0,
as in scikit-learn, whose numbers a test compares with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.space.errors import BadInput

_BLOCK = 1024  # rows of the distance matrix held at once: memory grows with works, not works^2


@dataclass(frozen=True)
class Evaluation:
    """What one set of labelled embeddings is worth.

    Args:
        works: labelled works, each a query once.
        k: neighbours asked for.
        denominator: neighbours that exist for each query, min(k, works - 1).
        precision: P@k over all queries, or None with fewer than two works.
        precision_by_class: P@k over the queries of each class.
        silhouette: mean silhouette by Euclidean distance; None with fewer than two classes.
        silhouette_cosine: the same by cosine distance.
        classes_below_k_plus_1: classes too small to reach a precision of 1.0.
    """

    works: int
    k: int
    denominator: int
    precision: float | None
    precision_by_class: dict[str, float]
    silhouette: float | None
    silhouette_cosine: float | None
    classes_below_k_plus_1: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def evaluate(embeddings: NDArray[np.float32], labels: Sequence[str], k: int = 5) -> Evaluation:
    """Measure Precision@k and silhouette of labelled embeddings.

    Args:
        embeddings: float32 of shape (works, dimension), unit norm.
        labels: one class name a row.
        k: neighbours, >= 1.

    Raises:
        BadInput: shapes disagree, a vector is not finite or not of unit norm, or k < 1.
    """
    _check(embeddings, labels, k)
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    hits, denominator = _hits(embeddings, codes, k)
    share = hits / max(denominator, 1)
    sizes = np.bincount(codes, minlength=len(names))
    silhouettes = _silhouettes(embeddings, codes, len(names))
    return Evaluation(
        works=len(codes),
        k=k,
        denominator=denominator,
        precision=float(share.mean()) if denominator > 0 else None,
        precision_by_class={
            str(name): float(share[codes == code].mean()) for code, name in enumerate(names)
        }
        if denominator > 0
        else {},
        silhouette=silhouettes[0],
        silhouette_cosine=silhouettes[1],
        classes_below_k_plus_1=tuple(
            str(name) for name, size in zip(names, sizes, strict=True) if size < k + 1
        ),
    )


def nearest(embeddings: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Rows of the k nearest other works of every work, by exact cosine, ties by lower row.

    Args:
        embeddings: float32 of shape (works, dimension), unit norm.

    Returns:
        int64 of shape (works, min(k, works - 1)), nearest first.
    """
    found = min(k, len(embeddings) - 1)
    neighbours = np.empty((len(embeddings), max(found, 0)), dtype=np.int64)
    if found < 1:
        return neighbours
    for start, similarity in _similarity_blocks(embeddings):
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        floor = np.partition(similarity, -found, axis=1)[:, -found]
        for row, values in enumerate(similarity):
            candidates = np.flatnonzero(values >= floor[row])
            order = np.argsort(-values[candidates], kind="stable")[:found]
            neighbours[start + row] = candidates[order]
    return neighbours


def _check(embeddings: NDArray[np.float32], labels: Sequence[str], k: int) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise BadInput(
            f"embeddings must be (works, dimension) with one label a row; received "
            f"{embeddings.shape} and {len(labels)} labels"
        )
    if k < 1:
        raise BadInput(f"k must be >= 1; received {k}")
    if len(labels) == 0:
        raise BadInput("an evaluation needs labelled works; received none")
    norms = np.linalg.norm(embeddings, axis=1)
    if not np.isfinite(norms).all() or np.abs(norms - 1).max() > 1e-3:
        raise BadInput("embeddings must be finite and of unit norm; normalise them first")


def _hits(
    embeddings: NDArray[np.float32], codes: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], int]:
    neighbours = nearest(embeddings, k)
    hits = (codes[neighbours] == codes[:, None]).sum(axis=1)
    return hits, neighbours.shape[1]


def _similarity_blocks(
    embeddings: NDArray[np.float32],
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for start in range(0, len(embeddings), _BLOCK):
        yield start, embeddings[start : start + _BLOCK] @ embeddings.T


def _silhouettes(
    embeddings: NDArray[np.float32], codes: NDArray[np.int64], classes: int
) -> tuple[float | None, float | None]:
    """Mean silhouette by Euclidean and by cosine distance, or None where it is not defined."""
    if classes < 2 or classes >= len(codes):
        return None, None
    members = np.eye(classes, dtype=np.float64)[codes]
    totals = np.zeros(2)
    for start, similarity in _similarity_blocks(embeddings):
        cosine = np.clip(1 - similarity.astype(np.float64), 0, 2)
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = 0
        own = codes[start : start + len(cosine)]
        # Of unit vectors: |a - b|^2 = 2 (1 - a.b)
        for kind, distance in enumerate((np.sqrt(2 * cosine), cosine)):
            totals[kind] += _silhouette_of(distance @ members, own, members.sum(axis=0)).sum()
    return float(totals[0] / len(codes)), float(totals[1] / len(codes))


def _silhouette_of(
    sums: NDArray[np.float64], own: NDArray[np.int64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(b - a) / max(a, b) a row; sums are distances to each class, (rows, classes)."""
    rows = np.arange(len(own))
    inside = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    outside = means.min(axis=1)
    scale = np.maximum(inside, outside)
    score = np.divide(outside - inside, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.where(sizes[own] > 1, score, 0.0)
