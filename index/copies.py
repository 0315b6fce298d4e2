"""Works of a collection that are pictures of the same work, by the model's own rule."""

from __future__ import annotations

import numpy as np

from index.catalogue import Catalogue
from index.report import MOST_COPIES, Copies
from index.space.model import Model
from index.space.ranking import SEED
from index.vectors import FaissVectors, Floats, Rows

MOST_ASKED = 5_000  # half a minute among 50,000 works
_NEAR = 6
_BLOCK = 256


def near_copies(
    vectors: FaissVectors, catalogue: Catalogue, new: Rows, model: Model
) -> Copies | None:
    """Pairs of a new work and any other that the model takes for the same, of different files.

    Args:
        new: rows of the works that are new; of more than 5,000 a sample by a fixed seed.

    Returns:
        None where no part of the embedding tells a work from others of its style.
    """
    rule = model.manifest.copies
    if rule is None:
        return None
    asking = new
    if len(new) > MOST_ASKED:
        asking = np.sort(np.random.default_rng(SEED).choice(new, MOST_ASKED, replace=False))
    columns = model.manifest.columns(rule.part)
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(asking), _BLOCK):
        rows = asking[start : start + _BLOCK]
        scores, found = _ask(vectors, rows, columns)
        for row, cosines, near in zip(rows.tolist(), scores.tolist(), found.tolist(), strict=True):
            for cosine, other in zip(cosines, near, strict=True):
                if cosine >= rule.cosine and other != row:
                    pairs.add((min(row, other), max(row, other)))
    works = [catalogue.by_rows(pair) for pair in sorted(pairs)]
    listed = [[one.name, other.name] for one, other in works if one.sha256 != other.sha256]
    note = f"{len(asking)} of {len(new)} new works asked all {len(vectors)}"
    return Copies(found=len(listed), names=listed[:MOST_COPIES], note=note)


def _ask(vectors: FaissVectors, rows: Rows, columns: slice) -> tuple[Floats, Rows]:
    """Cosines of the part, and rows: a query whose other numbers are zero asks that part alone."""
    whole = vectors.get(rows)
    queries = np.zeros_like(whole)
    queries[:, columns] = whole[:, columns]
    # Works' parts have the norm that the query's has: the square root of the part's weight.
    norms = np.linalg.norm(queries, axis=1, keepdims=True)
    scores, found = vectors.search(queries / norms, _NEAR)
    return scores / norms, found
