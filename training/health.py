"""Whether an embedding has collapsed: how many directions it uses, its norms, its hubs.

Effective rank: exp(-sum p log p), p the singular values over their sum (Roy & Vetterli, EUSIPCO
2007); of the vectors as they are, not centred, as RankMe has it (Garrido et al., ICML 2023).
Hubness: the skewness of N_k, how often a work is among the k nearest of the others (Radovanovic,
Nanopoulos & Ivanovic, JMLR 11 (2010) 2487-2531).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.space.ranking import nearest, sample

NEIGHBOURS = 10
Floats = NDArray[np.float32]


def health(embeddings: Floats) -> dict[str, float]:
    """All of it for the report.

    Args:
        embeddings: float32 of shape (works, dimension), unit norm, two works at least.
    """
    norms = np.linalg.norm(embeddings, axis=1)
    often = neighbour_counts(embeddings, NEIGHBOURS)
    return {
        "works": len(embeddings),
        "dimension": embeddings.shape[1],
        "effective_rank": effective_rank(embeddings),
        "norm_min": float(norms.min()),
        "norm_max": float(norms.max()),
        # 0 where directions balance, 1 where all vectors are the same.
        "norm_of_mean": float(np.linalg.norm(embeddings.mean(axis=0))),
        "hubness_skewness": skewness(often),
        "most_often_neighbour": int(often.max()),
        "share_never_neighbour": float((often == 0).mean()),
    }


def effective_rank(embeddings: Floats) -> float:
    """Directions in use, from 1 (all vectors on one line) to min(works, dimension)."""
    values = np.linalg.svd(embeddings.astype(np.float64), compute_uv=False)
    shares = values[values > 0] / max(values.sum(), np.finfo(np.float64).tiny)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def neighbour_counts(embeddings: Floats, k: int) -> NDArray[np.int64]:
    """N_k of each work, (works,): of how many others it is one of the k nearest."""
    works = len(embeddings)
    found = nearest(embeddings, k, sample(works, works))
    return np.bincount(found.ravel(), minlength=works)


def skewness(counts: NDArray[np.int64]) -> float:
    """Third standardised moment; 0 where all are equal."""
    apart = counts - counts.mean()
    spread = float(np.sqrt((apart**2).mean()))
    return float((apart**3).mean() / spread**3) if spread else 0.0
