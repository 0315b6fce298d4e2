"""What can be asked for beside the picture; anything else is refused, so that a misspelt option is
not ignored."""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from index.filters import parse_filter
from index.space.errors import BadInput

MOST = 100
Box: TypeAlias = tuple[float, float, float, float]


class NoOptions(BaseModel):
    """Of calls that have none: whatever is given is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Filtered(NoOptions):
    """Options of what looks at some of the works only.

    Args:
        filter: see `index/filters.py`.
    """

    filter: str = Field(
        default="",
        max_length=1000,
        description="Terms that must all hold, e.g. `class:baroque,romanticism "
        'artist:"Claude Monet" date:1880..1890 -medium:print*`; fields are `class`, `greyscale`, '
        "`date` and the columns of the collection's manifest",
        examples=["date:1880..1890"],
    )

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("control characters are no text")
        return value

    @field_validator("filter")
    @classmethod
    def _follows_the_grammar(cls, text: str) -> str:
        try:
            parse_filter(text)
        except BadInput as error:
            raise ValueError(str(error)) from error
        return text


class SearchOptions(Filtered):
    """Options of every search.

    Args:
        k: neighbours wanted.
        offset: neighbours passed over, to page.
        style: the balance: 1 is the style alone, 0 the work alone; the model's own if not given.
        diversity: 0 is the nearest; towards 1, works like those before them come later.
        exclude_same_artist: leaves out the artist of the work asked about.
    """

    k: int = Field(default=5, ge=1, le=MOST, description="Neighbours wanted")
    offset: int = Field(default=0, ge=0, le=1000, description="Neighbours passed over, to page")
    style: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="1 compares style alone, 0 the work alone (its motif, its picture); by default "
        "the model's own balance",
    )
    diversity: float = Field(
        default=0,
        ge=0,
        le=1,
        description="0 gives the nearest; towards 1, those of the 50 nearest that are like the "
        "ones before them come later",
    )
    exclude_same_artist: bool = Field(
        default=False,
        description="Leave out works by the artist of the work asked about, or of those that an "
        "uploaded picture is a copy of; with `box` the region, or else the whole picture",
    )


class Boxed(NoOptions):
    """Options of what looks at an uploaded picture.

    Args:
        box: left,top,right,bottom as shares of the upright picture.
    """

    box: str | None = Field(
        default=None,
        max_length=100,
        description="A region of the picture: left,top,right,bottom, each from 0 to 1",
        examples=["0.25,0,0.75,0.5"],
    )

    def corners(self) -> Box | None:
        """The box as numbers."""
        return None if self.box is None else _corners(self.box)

    @field_validator("box")
    @classmethod
    def _is_a_region(cls, box: str | None) -> str | None:
        if box is not None:
            _corners(box)
        return box


def _corners(box: str) -> Box:
    try:
        left, top, right, bottom = map(float, box.split(","))
    except ValueError:
        left = top = right = bottom = 0.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            "must be left,top,right,bottom as shares of the picture, like 0.25,0,0.75,0.5"
        )
    return left, top, right, bottom


class PictureOptions(Boxed, SearchOptions):
    """Options of a search by picture."""


class Examples(SearchOptions):
    """Options of a search by examples.

    Args:
        positive_id, negative_id: works of the collection, beside the pictures uploaded.
    """

    positive_id: list[str] = Field(
        default=[], max_length=16, description="Ids of works to be like; may be repeated"
    )
    negative_id: list[str] = Field(
        default=[], max_length=16, description="Ids of works to be unlike; may be repeated"
    )


REPEATABLE = frozenset({"positive_id", "negative_id"})


class Page(NoOptions):
    """Options of a list."""

    limit: int = Field(default=20, ge=1, le=MOST)
    offset: int = Field(default=0, ge=0, le=10_000_000)


class Words(Page, Filtered):
    """Options of a list of works.

    Args:
        q: words of title, artist and other text, or the beginnings of them.
    """

    q: str = Field(
        default="",
        max_length=200,
        description="Words of title, artist and other text, or the beginnings of words; accents "
        "and case do not count; without any, all works",
        examples=["monet water"],
    )


class MapOptions(Filtered):
    """Options of the map."""

    limit: int = Field(default=10_000, ge=1, le=10_000)
    offset: int = Field(default=0, ge=0, le=10_000_000)


class FacetOptions(Filtered):
    """Options of facets.

    Args:
        limit: values of a field.
    """

    limit: int = Field(
        default=20,
        ge=1,
        le=MOST,
        description="Values of a field; of `date` decades where they are no more, else centuries",
    )


class Rollback(NoOptions):
    """Options of a rollback.

    Args:
        release: its id; the one before the published if not given.
    """

    release: str | None = Field(
        default=None,
        max_length=64,
        description="A release's id",
        examples=["20261124T031500Z-7d10"],
    )


class Removal(NoOptions):
    """Options of a takedown.

    Args:
        reason: why, kept on record.
    """

    reason: str | None = Field(
        default=None,
        max_length=1000,
        description="Why, kept on record",
        examples=["asked for by the heirs"],
    )
