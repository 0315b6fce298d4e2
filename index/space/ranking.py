"""Every gallery work ranked for every query, a block of queries at a time.

By exact cosine, equal cosines by the lower row. A query's own row and the works of its own group
are not in its ranking at all. Memory: a block of similarities, whatever the number of works.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**21  # similarities held at once: 8 MB, and 16 MB to sort them
PAIRS = 200_000_000  # queries x gallery works that are compared at most
SEED = 0

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Gallery:
    """What is searched.

    Args:
        embeddings: float32 of shape (works, dimension), unit norm.
        codes: int64 of shape (works,), the class of each work.
        groups: int64 of shape (works,), -1 for a work in no group.
    """

    embeddings: Floats
    codes: Rows
    groups: Rows

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class Queries(Gallery):
    """Who asks.

    Args:
        own: int64 of shape (queries,), each query's own row in the gallery, -1 for none.
    """

    own: Rows


@dataclass(frozen=True)
class Block:
    """The rankings of some queries, all of the gallery in each.

    Args:
        queries: int64 (b,), their numbers.
        ranked: int64 (b, gallery), rows of the gallery, nearest first, what may not be found last.
        found: int64 (b,), how many of each row's entries may be found.
        similarity: float32 (b, gallery) by gallery row, -inf for what may not be found.
    """

    queries: Rows
    ranked: Rows
    found: Rows
    similarity: Floats


def among_themselves(
    embeddings: Floats, codes: Rows, groups: Rows, asked: Rows
) -> tuple[Queries, Gallery]:
    """Works that ask for each other: those of the rows `asked` for all but themselves."""
    queries = Queries(embeddings[asked], codes[asked], groups[asked], asked)
    return queries, Gallery(embeddings, codes, groups)


def sample(works: int, against: int) -> Rows:
    """Rows of the works that are asked: all, or so many that `PAIRS` comparisons are made.

    Without replacement, by a fixed seed, ascending.
    """
    most = max(PAIRS // max(against, 1), 1)
    if works <= most:
        return np.arange(works)
    return np.sort(np.random.default_rng(SEED).choice(works, most, replace=False))


def group_codes(*groups: Sequence[str | None] | None, sizes: Sequence[int]) -> list[Rows]:
    """Groups as numbers, equal names equal numbers in all of them; None and "" are -1, no group."""
    names: dict[str, int] = {}
    coded = []
    for given, size in zip(groups, sizes, strict=True):
        found = given if given is not None else [None] * size
        numbers = [names.setdefault(str(n), len(names)) if n else -1 for n in found]
        coded.append(np.asarray(numbers, np.int64))
    return coded


def rank(queries: Queries, gallery: Gallery) -> Iterator[Block]:
    """Rank the whole gallery for every query, a block of queries at a time."""
    for chosen, similarity, found in _similarities(queries, gallery):
        yield Block(chosen, _order(similarity), found, similarity)


def nearest(embeddings: Floats, k: int, queries: Rows | None = None) -> Rows:
    """Rows of the k nearest other works, by exact cosine, ties by lower row.

    Args:
        embeddings: float32 of shape (works, dimension), unit norm.
        queries: rows that ask; None, all.

    Returns:
        int64 of shape (queries, min(k, works - 1)), nearest first.
    """
    rows = np.arange(len(embeddings)) if queries is None else queries
    nobody = np.zeros(len(embeddings), np.int64)
    asking, gallery = among_themselves(embeddings, nobody, nobody - 1, rows)
    count = max(min(k, len(embeddings) - 1), 0)
    neighbours = np.empty((len(rows), count), np.int64)
    if count == 0:
        return neighbours
    for chosen, similarity, _ in _similarities(asking, gallery):
        floor = np.partition(similarity, -count, axis=1)[:, -count]
        for query, values, least in zip(chosen, similarity, floor, strict=True):
            candidates = np.flatnonzero(values >= least)
            order = np.argsort(-values[candidates], kind="stable")[:count]
            neighbours[query] = candidates[order]
    return neighbours


def _similarities(queries: Queries, gallery: Gallery) -> Iterator[tuple[Rows, Floats, Rows]]:
    """Queries' numbers, their similarities (-inf: may not be found), how many may be found."""
    step = max(_BLOCK // max(len(gallery), 1), 1)
    for start in range(0, len(queries), step):
        chosen = np.arange(start, min(start + step, len(queries)))
        similarity = queries.embeddings[chosen] @ gallery.embeddings.T
        groups = queries.groups[chosen, None]
        barred = (groups == gallery.groups) & (groups >= 0)
        asks_itself = np.flatnonzero(queries.own[chosen] >= 0)
        barred[asks_itself, queries.own[chosen][asks_itself]] = True
        similarity[barred] = -np.inf
        yield chosen, similarity, len(gallery) - barred.sum(axis=1)


def _order(similarity: Floats) -> Rows:
    """Columns by falling similarity, ties by the lower column.

    The bits of a float, turned so that they sort as numbers do, with the column below them, make
    one integer: NumPy sorts those several times as fast as it sorts indices stably.
    """
    bits = (similarity + np.float32(0)).view(np.uint32)  # + 0: -0.0 and 0.0 are equal
    falling = np.where(bits >> 31, bits, ~(bits | np.uint32(1 << 31)))
    keys = falling.astype(np.uint64) << np.uint64(32)
    keys |= np.arange(similarity.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    keys &= np.uint64(0xFFFFFFFF)
    return keys.view(np.int64)
