"""Two models over the same works: is the difference of their Precision@k real?

Paired: every work asks both, so what makes a work hard for either cancels out. Interval and test
are in `intervals.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.space.intervals import Mean, differences, sign_flip_p
from index.space.metrics import check_labelled
from index.space.ranking import among_themselves, sample
from index.space.retrieval import per_query

Floats = NDArray[np.float32]
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models over the same queries.

    Args:
        queries: that both answered.
        precision: P@k of the first.
        precision_other: P@k of the other.
        difference: first minus other, with its 95 % interval.
        p_value: of a paired randomisation test, two-sided.
        real: p_value < 0.05.
        verdict: the same in words.
    """

    queries: int
    k: int
    precision: float | None
    precision_other: float | None
    difference: Mean
    p_value: float | None
    real: bool | None
    verdict: str


def compare(
    embeddings: Floats,
    others: Floats,
    labels: Sequence[str],
    k: int = 5,
    other_labels: Sequence[str] | None = None,
) -> Comparison:
    """Whether two models' Precision@k over the same works differs by more than chance.

    Args:
        embeddings: the first model's, as in `evaluate`.
        others: another model's of the same works in the same order, of any dimension.
        other_labels: the works' classes as the other has them; None, the same.
    """
    check_labelled(embeddings, labels, k)
    before = labels if other_labels is None else other_labels
    check_labelled(others, before, k)
    first, second = _precisions(embeddings, labels, k), _precisions(others, before, k)
    counted = ~(np.isnan(first) | np.isnan(second))
    if not counted.any() or len(set(labels)) < 2:
        why = "not comparable: needs two classes, and a class of two works at least"
        return Comparison(0, k, None, None, Mean(None), None, None, why)
    first, second = first[counted], second[counted]
    (difference,) = differences((first - second)[:, None])
    p_value = sign_flip_p(first - second)
    return Comparison(
        queries=len(first),
        k=k,
        precision=float(first.mean()),
        precision_other=float(second.mean()),
        difference=difference,
        p_value=p_value,
        real=p_value < _SIGNIFICANT,
        verdict=_verdict(float((first - second).mean()), p_value),
    )


def _verdict(difference: float, p_value: float) -> str:
    if p_value >= _SIGNIFICANT:
        return (
            f"the difference may be chance (p = {p_value:.4f}): these works do not tell them apart"
        )
    word = "better" if difference > 0 else "worse"
    return f"the difference is real (p = {p_value:.4f}): {word} than the other"


def _precisions(embeddings: Floats, labels: Sequence[str], k: int) -> NDArray[np.float64]:
    """P@k of every query asked, leave-one-out; NaN where there is nothing to find."""
    codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]
    ungrouped = np.full(len(codes), -1, np.int64)
    asked = sample(len(codes), len(codes))
    asking = among_themselves(embeddings, codes, ungrouped, asked)
    return per_query(*asking, k).columns[f"precision_at_{k}"]
