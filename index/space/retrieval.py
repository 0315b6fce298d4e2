"""What rankings are worth: each query's figures, then their means with intervals.

A work is relevant to a query if it has the query's class and may be found: not the query itself,
nor a work of its group. R of them exist among N works that may be found.

    P@k        relevant among the k nearest / min(k, N)
    recall@k   1 if one of the k nearest is relevant, else 0; its mean is the share of queries
    AP         mean over the relevant works of P@(their rank); mAP is its mean
    AP@R       the same sum over the R nearest only, over R (Musgrave et al., ECCV 2020)
    R-prec.    P@R
    kNN        1 if the most frequent class among the k nearest is the query's, else 0; of equally
               frequent classes the one with the larger sum of similarities, then the first by name
    chance     R / N, the expected P@k of an order drawn at random, whatever k is
    ceiling    min(R, k) / min(k, N), the P@k of a perfect order

A query without any relevant work has nothing to find: it is left out of every mean and counted,
as in pytorch-metric-learning. With one class everything is right and nothing is measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.space.intervals import Mean, means
from index.space.ranking import Block, Gallery, Queries, Rows, rank

CUTOFFS = (1, 5, 10)
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Retrieval:
    """What one set of queries finds in one gallery.

    Args:
        works: labelled works that could be asked.
        queries: those that were: all, or a sample of many works (`ranking.sample`).
        queries_without_relevant: of these, left out of the means: nothing to find.
        gallery: labelled works that are searched.
        findable: N, of the query with the fewest.
        k: neighbours asked for.
        denominator: min(k, findable).
        precision: P@k, or None; `reasons` has the reason for every None.
        measures_by_class: `measures` over the queries of each class.
        ceiling: the P@k of a perfect order, below 1 where classes are small.
        ceilings: the same of each P@ in `measures`, by its name.
        ceiling_by_class: the same of each class.
        chance: the expected P@k of an order drawn at random.
        measures: P@k, P@1, 5, 10, recall@1, 5, 10, mAP, mAP@R, R-precision and kNN accuracy with
            95 % intervals.
        classes_below_k_plus_1: classes too small to reach a precision of 1.0.
        reasons: by the name of a number that is None, why; of `precision` for all measures.
    """

    works: int
    queries: int
    queries_without_relevant: int
    gallery: int
    findable: int
    k: int
    denominator: int
    precision: float | None
    measures_by_class: dict[str, dict[str, Mean]]
    ceiling: float | None
    ceilings: dict[str, float | None]
    ceiling_by_class: dict[str, float | None]
    chance: float | None
    measures: dict[str, Mean]
    classes_below_k_plus_1: tuple[str, ...]
    reasons: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class PerQuery:
    """Each query's figures.

    Args:
        answerable: bool (queries,), whether a relevant work exists.
        found: int64 (queries,), N, the works that may be found.
        ceilings: float64 (queries,) by the name of each P@.
        chance: float64 (queries,).
        columns: float64 (queries,) by the measure's name; NaN for queries not answerable.
    """

    answerable: NDArray[np.bool_]
    found: NDArray[np.int64]
    ceilings: dict[str, Doubles]
    chance: Doubles
    columns: dict[str, Doubles]


def per_query(queries: Queries, gallery: Gallery, k: int) -> PerQuery:
    """Rank the gallery for every query and score the rankings."""
    blocks = [_score(block, queries, gallery, k) for block in rank(queries, gallery)]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    relevant, found = columns.pop("relevant"), columns.pop("found")
    answerable = relevant > 0
    for values in columns.values():
        values[~answerable] = np.nan
    return PerQuery(
        answerable=answerable,
        found=found.astype(np.int64),
        ceilings={
            f"precision_at_{cutoff}": np.minimum(relevant, cutoff) / np.clip(found, 1, cutoff)
            for cutoff in _cutoffs(k)
        },
        chance=relevant / np.maximum(found, 1),
        columns=columns,
    )


def summarise(
    scores: PerQuery, queries: Queries, gallery: Gallery, names: list[str], codes: Rows, k: int
) -> Retrieval:
    """Means over the answerable queries.

    Args:
        names: of the classes, by code.
        codes: int64 (works,), the class of every work that could be asked.
    """
    counted = scores.answerable
    reason = _why_nothing(counted, gallery)
    if reason:
        counted = np.zeros_like(counted)
    measures = _measures(scores, counted)
    precision = measures[f"precision_at_{k}"].value
    ceilings = {name: _mean(values[counted]) for name, values in scores.ceilings.items()}
    of_class = {names[c]: counted & (queries.codes == c) for c in np.unique(codes).tolist()}
    sizes = np.bincount(gallery.codes, minlength=len(names))
    return Retrieval(
        works=len(codes),
        queries=len(queries),
        queries_without_relevant=int((~scores.answerable).sum()),
        gallery=len(gallery),
        findable=int(scores.found.min()),
        k=k,
        denominator=int(min(k, scores.found.min())),
        precision=precision,
        measures_by_class={name: _measures(scores, rows) for name, rows in of_class.items()},
        ceiling=ceilings[f"precision_at_{k}"],
        ceilings=ceilings,
        ceiling_by_class=_by_class(scores.ceilings[f"precision_at_{k}"], of_class),
        chance=_mean(scores.chance[counted]),
        measures=measures,
        classes_below_k_plus_1=tuple(names[c] for c in np.flatnonzero((sizes > 0) & (sizes <= k))),
        reasons=_reasons(reason, of_class),
    )


def _cutoffs(k: int) -> list[int]:
    return sorted({k, *CUTOFFS})


def _why_nothing(answerable: NDArray[np.bool_], gallery: Gallery) -> str | None:
    if len(np.unique(gallery.codes)) < 2:
        return "only one class is searched in: every neighbour has it, nothing is measured"
    if not answerable.any():
        return "no query has another work of its class that it may find"
    return None


def _reasons(reason: str | None, of_class: dict[str, NDArray[np.bool_]]) -> dict[str, str]:
    if reason:
        return dict.fromkeys(("precision", "measures_by_class", "ceiling", "chance"), reason)
    text = "none of the works of the class that were asked has another of it that it may find"
    return {f"measures_by_class.{name}": text for name, rows in of_class.items() if not rows.any()}


def _measures(scores: PerQuery, rows: NDArray[np.bool_]) -> dict[str, Mean]:
    values = np.stack([column[rows] for column in scores.columns.values()], axis=1)
    return dict(zip(scores.columns, means(values), strict=True))


def _by_class(values: Doubles, of_class: dict[str, NDArray[np.bool_]]) -> dict[str, float | None]:
    return {name: _mean(values[rows]) for name, rows in of_class.items()}


def _mean(values: Doubles) -> float | None:
    return float(values.mean()) if len(values) else None


def _score(block: Block, queries: Queries, gallery: Gallery, k: int) -> dict[str, Doubles]:
    codes = queries.codes[block.queries]
    ranked = gallery.codes[block.ranked]
    relevant = ranked == codes[:, None]
    relevant &= np.arange(len(gallery)) < block.found[:, None]
    counts = relevant.sum(axis=1)
    scored = {"relevant": counts.astype(np.float64), "found": block.found.astype(np.float64)}
    for cutoff in _cutoffs(k):
        hits = relevant[:, :cutoff].sum(axis=1)
        scored[f"precision_at_{cutoff}"] = hits / np.clip(block.found, 1, cutoff)
        scored[f"recall_at_{cutoff}"] = (hits > 0) * 1.0
    scored |= _over_all_ranks(relevant, np.maximum(counts, 1))
    scored["knn_accuracy"] = (_vote(block, ranked, k) == codes) * 1.0
    return scored


def _over_all_ranks(relevant: NDArray[np.bool_], counts: NDArray[np.int64]) -> dict[str, Doubles]:
    rows, places = np.nonzero(relevant)
    firsts = np.searchsorted(rows, np.arange(len(relevant)))
    precision = (np.arange(len(rows)) - firsts[rows] + 1) / (places + 1)
    within = (places < counts[rows]) * 1.0
    summed = {
        "mean_average_precision": precision,
        "mean_average_precision_at_r": precision * within,
        "r_precision": within,
    }
    return {
        name: np.bincount(rows, values, len(relevant)).astype(np.float64) / counts
        for name, values in summed.items()
    }


def _vote(block: Block, ranked: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The most frequent class among each query's k nearest; -1 where nothing may be found."""
    voters = min(k, ranked.shape[1])
    winners = np.full(len(ranked), -1, np.int64)
    similarity = np.take_along_axis(block.similarity, block.ranked[:, :voters], axis=1)
    for row, found in enumerate(np.minimum(block.found, voters)):
        classes, votes = np.unique(ranked[row, :found], return_inverse=True)
        if found:
            counts = np.bincount(votes)
            sums = np.bincount(votes, similarity[row, :found].astype(np.float64))
            winners[row] = classes[np.lexsort((classes, -sums, -counts))[0]]
    return winners
