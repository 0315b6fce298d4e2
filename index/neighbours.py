"""The same works asked in two releases: how many of their nearest stayed, which release is better.

The works of both, joined by id, ask each other, so that the collection's own change does not count.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Entry
from index.evaluation import compare_releases, works_to_judge_by
from index.looks import LOOKED_AT
from index.progress import track
from index.release import Release
from index.space.errors import BadInput
from index.space.intervals import means
from index.space.ranking import SEED

SHOWN = 24
_AT_ONCE = 250  # works that ask
Rows = NDArray[np.int64]
Result = dict[str, Any]


@dataclass(frozen=True)
class Shared:
    """Works that two releases have, in the order of the new one.

    Args:
        old, new: int64 (works,), their rows in each.
        same: bool (works,), whether their picture is the same file in both.
    """

    old: Rows
    new: Rows
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.old)


def compare_neighbours(old: Release, new: Release, k: int = 5) -> Result:
    """Measure what changes from one release to another, of whatever models.

    Args:
        k: neighbours that count, >= 1; where fewer other works exist, all of them do.

    Returns:
        JSON types. `overlap`: the mean share of the k neighbours that stayed, over at most 5,000
        works with the same picture in both. `precision`: see `evaluation.compare_releases`, the
        new release first; None with its reason in `reasons`. `queries`: the `SHOWN` works whose
        neighbours changed most, those that changed as much drawn by a fixed seed.

    Raises:
        BadInput: they share fewer than two works, or no picture.
    """
    shared = _shared(old, new)
    if len(shared) < 2 or not shared.same.any():
        raise BadInput(
            "two releases to compare must share two works by their ids, and a picture; "
            f"{old.id} and {new.id} share {len(shared)} works, {shared.same.sum()} with the same "
            "picture"
        )
    asked = _drawn(np.flatnonzero(shared.same))
    before = _neighbours(old, shared.old, asked, k)
    after = _neighbours(new, shared.new, asked, k)
    stayed = np.asarray([len(np.intersect1d(*both)) for both in zip(before, after, strict=True)])
    (overlap,) = means(stayed[:, None] / before.shape[1])
    precision, reasons = _precision(old, new, k)
    return {
        "k": k,
        "old": _named(old, shared),
        "new": _named(new, shared),
        "works": len(shared),
        "other_picture": int((~shared.same).sum()),
        "overlap": {"queries": len(asked), **asdict(overlap)},
        "precision": precision,
        "reasons": reasons,
        "queries": [
            _query(old, new, shared, *(asked[n], before[n], after[n]))
            for n in _most_changed(stayed)
        ],
    }


def _shared(old: Release, new: Release) -> Shared:
    found = []
    for entry in new.catalogue.entries():
        twin = old.catalogue.by_id(entry.id)
        if twin is not None:
            found.append((twin.row, entry.row, twin.sha256 == entry.sha256))
    table = np.asarray(found, np.int64).reshape(-1, 3)
    return Shared(table[:, 0], table[:, 1], table[:, 2].astype(np.bool_))


def _drawn(works: Rows) -> Rows:
    if len(works) <= LOOKED_AT:
        return works
    return np.sort(np.random.default_rng(SEED).choice(works, LOOKED_AT, replace=False))


def _neighbours(release: Release, rows: Rows, asked: Rows, k: int) -> Rows:
    """The nearest other works of the works asked, among those shared.

    Args:
        rows: of the works shared.
        asked: int64 (n,), which of them ask.

    Returns:
        int64 (n, min(k, works shared - 1)), which of the works shared answer, nearest first.
    """
    place = np.full(len(release.vectors), -1, np.int64)
    place[rows] = np.arange(len(rows))
    k = min(k, len(rows) - 1)
    found = []
    blocks = np.split(asked, range(_AT_ONCE, len(asked), _AT_ONCE))
    for block in track(blocks, len(blocks), f"asking release {release.id}"):
        queries = release.vectors.get(rows[block])
        answers = place[release.vectors.search(queries, k + 1, rows)[1]]
        # Itself goes to the end, by its row: before it may stand a copy, or it may not be there.
        order = np.argsort(answers == block[:, None], axis=1, kind="stable")
        found.append(np.take_along_axis(answers, order, axis=1)[:, :k])
    return np.concatenate(found)


def _most_changed(stayed: NDArray[np.int64]) -> list[int]:
    drawn = np.random.default_rng(SEED).permutation(len(stayed))
    first: list[int] = drawn[np.argsort(stayed[drawn], kind="stable")][:SHOWN].tolist()
    return first


def _precision(old: Release, new: Release, k: int) -> tuple[Result | None, dict[str, str]]:
    works, which = works_to_judge_by(new, old)
    if not works:
        return None, {"precision": which}
    found = compare_releases(new, old, works, k)
    if found.get("precision") is None:
        return None, {"precision": found["verdict"]}
    kept = ("queries", "difference", "p_value", "real", "verdict")
    both = {"old": found["precision_other"], "new": found["precision"]}
    return {**both, **{name: found[name] for name in kept}, "of": which}, {}


def _named(release: Release, shared: Shared) -> Result:
    made = release.manifest
    return {
        "release": release.id,
        "model": made.model,
        "model_digest": made.model_digest,
        "dimension": made.dimension,
        "works": made.works,
        "works_of_its_own": made.works - len(shared),
    }


def _query(
    old: Release, new: Release, shared: Shared, asked: int, before: Rows, after: Rows
) -> Result:
    """A work with its neighbours before and after; classes are the new release's."""
    (query,) = new.catalogue.by_rows([int(shared.new[asked])])
    kept = set(before) & set(after)
    found = _described(query)
    for name, release, rows, answers in (
        ("before", old, shared.old, before),
        ("after", new, shared.new, after),
    ):
        entries = new.catalogue.by_rows(shared.new[answers].tolist())
        vectors = release.vectors.get(rows[np.append(answers, asked)])
        found[name] = [
            {
                **_described(entry),
                "score": float(score),
                "stayed": answer in kept,
                "right": None if query.label is None else entry.label == query.label,
            }
            for answer, entry, score in zip(
                answers, entries, vectors[:-1] @ vectors[-1], strict=True
            )
        ]
    return found | {"stayed": len(kept)}


def _described(entry: Entry) -> Result:
    return {"id": entry.id, "title": entry.title, "class": entry.label}
