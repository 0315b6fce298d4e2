"""Which works a search may answer with, as one line of text.

    class:baroque,romanticism artist:"Claude Monet" date:1880..1890 -medium:print*

Terms are parted by blanks and must all hold; of a term's values, parted by commas, one must; `-`
in front turns a term round. Values with blanks or commas stand in double quotes; a `*` at the end
stands for any ending. Letters' case and accents do not count, nor what an artist has in brackets at
the end. A field is `class`, `greyscale` (yes or no), `date` or a column of the collection's
manifest. `date` takes a year or a span, open on one side if need be (`1880..`), and finds works
whose own years touch it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from index.space.errors import BadInput

DATE = "date"
GREYSCALE = "greyscale"
YES, NO = "yes", "no"
_WORD = r'(?:"[^"]*"|[^\s",]+)'
_TERM = re.compile(
    rf'(?P<no>-?)(?P<field>"[^"]+"|[^\s:",]+):(?P<values>{_WORD}(?:,{_WORD})*)(?=\s|$)'
)
_VALUE = re.compile(_WORD)
_LIFE = re.compile(r"\s*\([^()]*\)$")
_SPAN = re.compile(r"(-?\d{1,4})?(\.\.)?(-?\d{1,4})?")


@dataclass(frozen=True)
class Term:
    """One condition; `values` are folded, for `date` they are spans."""

    field: str
    values: tuple[str, ...]
    negated: bool


def fold(text: str) -> str:
    """Without case, accents and superfluous blanks, to compare by.

    Example:
        >>> fold("  Édouard  MANET ")
        'edouard manet'
    """
    parts = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in parts if not unicodedata.combining(letter))
    return " ".join(plain.split())


def facet_value(field: str, text: str) -> str:
    """A value as it is compared: folded, and of an artist the name alone.

    Example:
        >>> facet_value("artist", "Claude Monet (French, 1840–1926)")
        'claude monet'
    """
    folded = fold(text)
    if field == "artist":
        return _LIFE.sub("", folded) or folded
    return folded


def parse_filter(text: str) -> list[Term]:
    """The terms of a filter.

    Raises:
        BadInput: it does not follow the grammar.
    """
    terms: list[Term] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise BadInput(
                'a filter is made of terms like class:baroque, artist:"Claude Monet" or '
                f"date:1880..1890, parted by blanks; received {text[at : at + 60]!r}"
            )
        field = fold(found["field"].strip('"'))
        values = tuple(_VALUE.findall(found["values"]))
        if field == DATE:
            for value in values:
                span(value.strip('"'))
        folded = tuple(facet_value(field, value.strip('"')) for value in values)
        if field == GREYSCALE and not {YES, NO}.issuperset(folded):
            raise BadInput(f"greyscale must be yes or no; received {found['values'][:60]!r}")
        if not all(folded):
            raise BadInput(f"a filter's value must not be empty; received {found[0][:60]!r}")
        terms.append(Term(field, folded, bool(found["no"])))
        at = found.end()
        while at < len(text) and text[at].isspace():
            at += 1
    return terms


def span(value: str) -> tuple[int, int]:
    """First and last year of a `date` value.

    Raises:
        BadInput: neither a year nor a span.
    """
    found = _SPAN.fullmatch(value)
    first, dots, last = found.groups() if found else (None, None, None)
    if not (first or (dots and last)) or (last and not dots):
        raise BadInput(
            f"date must be a year or a span like 1880..1890, 1880.. or ..1890; received {value!r}"
        )
    start = int(first or -9999)
    end = int(last or 9999) if dots else start
    if start > end:
        raise BadInput(f"a span must begin before it ends; received date:{value}")
    return start, end


def condition(terms: list[Term]) -> tuple[str, list[str | int]]:
    """The filter as a condition on `row` for `index/catalogue.py`, with its values."""
    parts, values = ["1"], list[str | int]()
    for term in terms:
        one = _years(term, values) if term.field == DATE else _facet(term, values)
        parts.append(f"{'NOT ' if term.negated else ''}({one})")
    return " AND ".join(parts), values


def _years(term: Term, values: list[str | int]) -> str:
    spans = [span(value) for value in term.values]
    for first, last in spans:
        values += [last, first]
    either = " OR ".join("(first_year <= ? AND last_year >= ?)" for _ in spans)
    return f"row IN (SELECT row FROM works WHERE {either})"


def _facet(term: Term, values: list[str | int]) -> str:
    values.append(term.field)
    either = []
    for value in term.values:
        if value.endswith("*"):
            # A range and not LIKE, which would not use the table's index.
            values += [value[:-1], value[:-1] + "\U0010ffff"]
            either.append("value BETWEEN ? AND ?")
        else:
            values.append(value)
            either.append("value = ?")
    return f"row IN (SELECT row FROM facets WHERE field = ? AND ({' OR '.join(either)}))"
