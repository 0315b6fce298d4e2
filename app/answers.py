"""What the service answers, as types: the routes fill them, OpenAPI shows them, the client reads.

Every answer about works says which release and which model it comes from.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel

from app.proxied import link
from index.catalogue import Entry
from index.confidence import Confidence
from index.space.model import CopyRule, Part

_NAMED = ("title", "artist", "date")


class ProblemDocument(BaseModel):
    """Why a request was refused (RFC 9457); `problems.py` writes it.

    Args:
        type: `/problems/<slug>`, the kind of problem as a stable word.
        detail: the rule, the value received and the fix.
        request_id: the answer's X-Request-ID, to be found in the service's log.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Versions(BaseModel):
    """Where an answer comes from.

    Args:
        index_version: id of the release.
        model_version: `<name>-<version>` of the model.
    """

    index_version: str
    model_version: str


class Work(BaseModel):
    """A work of the collection.

    Args:
        title: the collection's, else the name of its file without the ending.
        thumbnail: path of its picture on this service.
        greyscale: its picture has no colour, as a photograph of a painting may have none.
        metadata: whatever else the collection says of it.
    """

    id: str
    label: str | None
    title: str
    artist: str | None
    date: str | None
    thumbnail: str
    greyscale: bool
    metadata: dict[str, str]


class Neighbour(Work):
    """A work near a query.

    Args:
        rank: copies of the query first, then the nearest; 1 is the first of all pages.
        score: cosine with the query, to six digits; with `style` that balance of the parts'
            cosines.
        confidence: the chance that it is of the query's class, as the collection itself taught it
            (`GET /v1/collection` says how well); None for several examples, or where the
            collection has too few works to learn from.
        copy_of_query: the same work (another scan, a crop, a photograph of it) and not one that is
            alike; how often that is wrong stands in the model's manifest.
    """

    rank: int
    score: float
    confidence: float | None
    copy_of_query: bool


class Neighbours(Versions):
    """The same work's pictures, then the nearest; fewer than asked for where fewer exist.

    Args:
        total: works that could be answered with: all that the filter lets through.
        nothing_alike: whether nothing in the collection is like the picture; None where that is
            not known (`GET /v1/collection` says how often it is wrong).
    """

    total: int
    nothing_alike: bool | None
    results: list[Neighbour]


class Batch(Versions):
    """Answers to several pictures in their order: each what it would have got alone."""

    answers: list[Neighbours | ProblemDocument]


class Embedding(Versions):
    """A picture's vector.

    Args:
        embedding: unit norm; the parts one after the other, each of the norm sqrt(weight).
    """

    embedding: list[float]
    parts: list[Part]


class Item(Versions, Work):
    """One work."""


class Items(Versions):
    """A page of a list of works.

    Args:
        total: works in the whole list.
    """

    total: int
    results: list[Work]


class FacetValue(BaseModel):
    """A value and how many works have it."""

    value: str
    works: int


class FacetCounts(BaseModel):
    """A field that a filter can ask for.

    Args:
        distinct: how many values it has in all.
        values: the most frequent first; of `date` decades or, where those are more than asked for,
            centuries, in the order of time, a work of several years in each.
    """

    field: str
    distinct: int
    values: list[FacetValue]


class Facets(Versions):
    """What the works can be told apart by."""

    facets: list[FacetCounts]


class MapPlace(BaseModel):
    """Where a work stands; the nearer two are, the more alike are their styles, as far as two
    numbers can tell."""

    id: str
    label: str | None
    x: float
    y: float


class Map(Versions):
    """Works on a map from -1 to 1.

    Args:
        total: works on the whole map; those added since the last rebuild are not on it.
    """

    total: int
    places: list[MapPlace]


class Collection(Versions):
    """What is served, and how far its answers can be trusted.

    Args:
        style: the balance of the parts that searches have unless they say otherwise; None where
            the model has one part.
        confidence: how `confidence` and `nothing_alike` were learnt, and how often they are
            wrong; None where they are not known.
        copies: the same of `copy_of_query`.
    """

    works: int
    created: str
    dimension: int
    parts: list[Part]
    style: float | None
    confidence: Confidence | None
    copies: CopyRule | None


class Ready(Versions):
    """What is being served."""

    status: Literal["ready"] = "ready"
    works: int


JobKind = Literal["evaluation", "rebuild", "takedown"]


class Progress(BaseModel):
    """How far a step of a job is."""

    step: str
    done: int
    total: int


class Job(BaseModel):
    """Long work.

    Args:
        index_version: the release that was served when it was asked for; an evaluation is of it.
        created, finished: UTC, ISO 8601.
        progress: of the step at hand, where it says.
        result: of an evaluation what `artkin evaluate --model DIR --json` says of the same release
            and model, digit for digit; of a rebuild its report (`index/outcome.py`): which release
            has it all, whether that one is new and published, counts, the gate's verdict; of a
            takedown under `said` what it did.
        error: why it failed.
    """

    id: str
    kind: JobKind
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    index_version: str
    created: str
    finished: str | None = None
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    error: str | None = None


class JobList(BaseModel):
    """A page of the jobs, the newest first."""

    total: int
    jobs: list[Job]


class ReleaseSummary(BaseModel):
    """A release on the disk."""

    id: str
    works: int
    model: str
    created: str
    published: bool


class Releases(BaseModel):
    """The releases on the disk, the newest first."""

    releases: list[ReleaseSummary]


def describe(entry: Entry) -> dict[str, Any]:
    """The fields of `Work`."""
    return {
        "id": entry.id,
        "label": entry.label,
        "title": entry.title,
        "artist": entry.metadata.get("artist"),
        "date": entry.metadata.get("date"),
        "thumbnail": link(f"/v1/items/{quote(entry.id, safe='')}/thumbnail"),
        "greyscale": entry.greyscale,
        "metadata": {k: v for k, v in entry.metadata.items() if k not in _NAMED},
    }
