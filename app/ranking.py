"""From what is asked to an order of works: balance of the parts, examples, diversity.

A vector is its parts, each of unit norm times the square root of its weight, one after the other.
A query whose parts are rescaled asks the same index with another balance, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from index.space.errors import BadInput
from index.space.model import ModelManifest
from index.vectors import Floats

Vector: TypeAlias = NDArray[np.float32]

# The nearest works among which diversity chooses; the others follow as they are. Among all works
# it would end with those that are like nothing, the query included.
DIVERSE = 50
MOST_COPIES = 1000


def balanced(query: Vector, manifest: ModelManifest, style: float | None) -> Vector:
    """A query with another balance: its product with a work's vector is
    style * cosine of the first part + (1 - style) * cosine of the second.

    Args:
        query: float32 (dimension,), as the model gives it.
        style: from 0 to 1; None, the model's own balance.

    Returns:
        float32 (dimension,); not of unit norm.
    """
    if style is None or len(manifest.parts) < 2:
        return query
    scaled = query.copy()
    for part, wanted in zip(manifest.parts, (style, 1 - style), strict=True):
        columns = manifest.columns(part.name)
        # Both sides carry the root of the weight; what is to be left is `wanted` alone.
        scaled[columns] *= wanted / part.weight
    return scaled


def combined(
    positive: Sequence[Vector], negative: Sequence[Vector], manifest: ModelManifest
) -> Vector:
    """One query out of examples: in each part the mean of the positive ones, moved away from the
    mean of the negative ones by as much as it differs from it (Rocchio, 1971, with weights 2, 1).

    Args:
        positive, negative: float32 (dimension,) each; one positive at least.

    Returns:
        float32 (dimension,), unit norm.

    Raises:
        BadInput: they cancel each other out.
    """
    query = np.mean(positive, axis=0)
    if negative:
        query = 2 * query - np.mean(negative, axis=0)
    for part in manifest.parts:
        columns = manifest.columns(part.name)
        norm = float(np.linalg.norm(query[columns]))
        query[columns] *= part.weight**0.5 / norm if norm > 1e-6 else 0
    norm = float(np.linalg.norm(query))
    if norm == 0:
        raise BadInput("the examples are opposite to each other, nothing is left to be like")
    unit: Vector = (query / norm).astype(np.float32)
    return unit


def diverse(scores: Vector, vectors: Floats, diversity: float) -> list[int]:
    """An order in which a work is put back by its likeness to those before it: maximal marginal
    relevance (Carbonell and Goldstein, SIGIR 1998) with lambda = 1 - diversity.

    Args:
        scores: float32 (n,), with the query.
        vectors: float32 (n, dimension), unit norm.

    Returns:
        Places in `scores`.
    """
    nearest = np.full(len(scores), -1.0, np.float32)
    left = np.ones(len(scores), np.bool_)
    order: list[int] = []
    for _ in range(len(scores)):
        worth = scores if not order else (1 - diversity) * scores - diversity * nearest
        chosen = int(np.argmax(np.where(left, worth, -np.inf)))
        order.append(chosen)
        left[chosen] = False
        nearest = np.maximum(nearest, vectors @ vectors[chosen])
    return order
