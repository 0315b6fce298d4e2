"""The answer to a question about one release: copies first, then the works alike.

filter -> copies (the work part alone) -> works alike (balance, diversity) -> page -> confidence
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.answers import Neighbour, describe
from app.options import SearchOptions
from app.ranking import DIVERSE, MOST_COPIES, Vector, balanced, diverse
from index.catalogue import Entry
from index.filters import Term, facet_value, parse_filter
from index.release import Release
from index.space.model import ModelManifest
from index.vectors import Floats, Rows


@dataclass(frozen=True)
class Question:
    """What is to be like what.

    Args:
        query: float32 (dimension,), unit norm.
        pictures: vectors of the pictures whose copies are to be named.
        like, unlike: works of the collection that ask; they are no answers.
        is_one_picture: what confidence was learnt for.
        whole: the picture that a region which asks was taken from, where its artist matters.
    """

    query: Vector
    pictures: list[Vector]
    like: list[Entry] = field(default_factory=list)
    unlike: list[Entry] = field(default_factory=list)
    is_one_picture: bool = True
    whole: Vector | None = None


def answer(
    release: Release, model: ModelManifest, question: Question, options: SearchOptions
) -> dict[str, Any]:
    """The fields of `Neighbours` but the versions.

    Raises:
        BadInput: the filter names a field that no work has.
    """
    terms = parse_filter(options.filter)
    among = _Among(release, terms, question)
    copies = _copies(among, model, question.pictures)
    nothing_alike = _nothing_alike(release, model, question, bool(terms), bool(copies))
    if options.exclude_same_artist:
        terms += _other_artists(_known(release, model, question))
        among = _Among(release, terms, question)
        copies = _copies(among, model, question.pictures)
    query = balanced(question.query, model, options.style)
    end = options.offset + options.k
    rows = [*copies, *_alike(among, query, copies, end, options.diversity)][options.offset : end]
    vectors = release.vectors.get(np.asarray(rows, np.int64))
    scores = (vectors @ query).tolist()
    confidences = _confidences(release, model, question, vectors)
    entries = release.catalogue.by_rows(rows)
    results = [
        Neighbour(
            rank=rank,
            score=round(score, 6),
            confidence=confidence,
            copy_of_query=row in copies,
            **describe(entry),
        )
        for rank, (row, score, confidence, entry) in enumerate(
            zip(rows, scores, confidences, entries, strict=True), options.offset + 1
        )
    ]
    return {
        "total": among.total,
        "nothing_alike": nothing_alike,
        "results": results,
    }


class _Among:
    """The works that a question may be answered with."""

    def __init__(self, release: Release, terms: list[Term], question: Question) -> None:
        self.vectors = release.vectors
        self._left_out = list({entry.row for entry in (*question.like, *question.unlike)})
        self._rows: Rows | None = None
        self.total = len(release.vectors) - len(self._left_out)
        if terms:
            selected = release.catalogue.select(terms)
            self._rows = np.setdiff1d(selected, np.asarray(self._left_out, np.int64))
            self.total = len(self._rows)

    def search(self, query: Vector, k: int) -> tuple[Floats, Rows]:
        """The nearest to a query of any norm: cosines and rows, each (k',), nearest first.

        Without a filter what is left out is asked for as well and then dropped: FAISS is faster
        over all rows than over a list of all but one.
        """
        unit = query[np.newaxis] / np.linalg.norm(query)
        if self._rows is not None:
            scores, rows = self.vectors.search(unit, k, self._rows)
            return scores[0], rows[0]
        scores, rows = self.vectors.search(unit, k + len(self._left_out))
        kept = ~np.isin(rows[0], self._left_out)
        return scores[0][kept][:k], rows[0][kept][:k]


def _copies(among: _Among, model: ModelManifest, pictures: list[Vector]) -> list[int]:
    """Rows of the works of which a picture that asks is another picture, nearest first.

    Only the part that knows the work asks: the query's other numbers are zero, so that the index
    multiplies that part with its like and nothing else.
    """
    if model.copies is None:
        return []
    columns = model.columns(model.copies.part)
    found: dict[int, float] = {}
    for picture in pictures:
        asking = np.zeros_like(picture)
        asking[columns] = picture[columns]
        scores, rows = among.search(asking, MOST_COPIES)
        # Works' parts have the norm that the query's has: the square root of the part's weight.
        cosines = scores / np.linalg.norm(picture[columns])
        for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
            if cosine >= model.copies.cosine:
                found[row] = max(cosine, found.get(row, cosine))
    return sorted(found, key=lambda row: -found[row])


def _known(release: Release, model: ModelManifest, question: Question) -> list[Entry]:
    """The works asked about, or those that the uploaded pictures are copies of, whatever a filter
    lets through. A region that is a copy of nothing counts as the picture it was taken from."""
    if question.like:
        return question.like
    everything = _Among(release, [], question)
    copies = _copies(everything, model, question.pictures)
    if not copies and question.whole is not None:
        copies = _copies(everything, model, [question.whole])
    return release.catalogue.by_rows(copies)


def _other_artists(known: list[Entry]) -> list[Term]:
    """The condition that leaves out the artists of works, where they are known."""
    artists = {
        facet_value("artist", entry.metadata["artist"])
        for entry in known
        if "artist" in entry.metadata
    }
    return [Term("artist", tuple(sorted(artists)), negated=True)] if artists else []


def _alike(
    among: _Among, query: Vector, copies: list[int], end: int, diversity: float
) -> list[int]:
    """Rows of the works alike, so many that with the copies there are `end`."""
    wanted = max(end - len(copies), 0)
    if wanted == 0:
        return []
    near = max(wanted, DIVERSE) if diversity else wanted
    scores, rows = among.search(query, near + len(copies))
    kept = ~np.isin(rows, copies)
    scores, rows = scores[kept][:near], rows[kept][:near]
    if diversity:
        first = rows[:DIVERSE]
        order = diverse(scores[:DIVERSE], among.vectors.get(first), diversity)
        rows = np.concatenate([first[order], rows[DIVERSE:]])
    found: list[int] = rows[:wanted].tolist()
    return found


def _confidences(
    release: Release, model: ModelManifest, question: Question, vectors: Floats
) -> list[float] | list[None]:
    learnt = release.manifest.confidence
    if learnt is None or not question.is_one_picture:
        return [None] * len(vectors)
    columns = model.columns(learnt.part)
    query, works = question.query[columns], vectors[:, columns]
    norms = np.linalg.norm(works, axis=1) * np.linalg.norm(query)
    cosines = (works @ query / norms).tolist()
    return [round(float(learnt.of(cosine)), 3) for cosine in cosines]


def _nothing_alike(
    release: Release, model: ModelManifest, question: Question, is_filtered: bool, has_copies: bool
) -> bool | None:
    """Whether the nearest work of the whole collection, whatever a filter lets through, is too far
    away in the model's own balance."""
    learnt = release.manifest.confidence
    if learnt is None or not question.is_one_picture:
        return None
    everything = _Among(release, [], question)
    if has_copies or (is_filtered and _copies(everything, model, question.pictures)):
        return False
    if learnt.threshold is None:
        return None
    scores, _ = everything.search(question.query, 1)
    return len(scores) == 0 or float(scores[0]) < learnt.threshold
