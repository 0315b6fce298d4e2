"""Years out of what museums write in a date column: "c. 1857–61", "1490/95", "18th century".

Own reading because those that exist take "1868–70" for 2070 and "1490/95" for nothing
(docs/decisions.md).
"""

from __future__ import annotations

import re
from typing import NamedTuple

LATEST = 2200
_DASH = r"\s*(?:[–—/-]|to|and|or|bis|et)\s*"
_BC = r"(?:\s*(BCE?|B\.C\.|v\. ?Chr\.))?"
_ROMAN = {"I": 1, "V": 5, "X": 10}
_ORDINAL = r"\b(\d{1,2}|[IVX]+)(?:st|nd|rd|th|\.|e|è?me)?"
_CENTURIES = re.compile(
    rf"(?:{_ORDINAL}{_DASH})?{_ORDINAL}[\s-]*(?:century|centuries|Jh|Jahrhundert|siècle|secolo){_BC}",
    re.IGNORECASE,
)
_ISO = re.compile(r"(?<!\d)(\d{4})-(?:0[1-9]|1[0-2])-\d{2}(?!\d)")
_YEARS = re.compile(
    rf"(?<!\d)(\d{{3,4}})(?!\d)(s?)(?:{_DASH}(\d{{1,4}})(?!\d)(s?))?{_BC}", re.IGNORECASE
)


class Years(NamedTuple):
    """First and last year; before Christ below 1, as astronomers count (1 BC is 0)."""

    first: int
    last: int


def years(text: str) -> Years | None:
    """The years that a date speaks of, or None where it names none.

    "Before 1890" and "after 1890" count as 1890. Days and months are passed over.

    Example:
        >>> years("c. 1857–61")
        Years(first=1857, last=1861)
    """
    found: list[int] = []
    rest = _ISO.sub(r"\1", text)
    for match in _CENTURIES.finditer(rest):
        first, last, before = match.groups()
        for number in (_ordinal(first or last), _ordinal(last)):
            found += _before(before, 100 * number - 99, 100 * number)
    for match in _YEARS.finditer(_CENTURIES.sub(" ", rest)):
        first, decade, last, last_decade, before = match.groups()
        start, end = int(first), int(first)
        if last is not None:
            # "1857–61": the digits left out are the first year's.
            end = int(first[: len(first) - len(last)] + last)
        if end < start and not before:
            end = start  # no span: "1890-10" has a month
            last_decade = decade
        found += _before(before, start, end + (9 if (last_decade if last else decade) else 0))
    usable = [year for year in found if year <= LATEST]
    return Years(min(usable), max(usable)) if usable else None


def _ordinal(text: str) -> int:
    if text.isdecimal():
        return int(text)
    digits = [_ROMAN[letter] for letter in text.upper()]
    # A smaller digit before a greater one is taken away: IX is 9.
    following = [*digits[1:], 0]
    return sum(-one if one < after else one for one, after in zip(digits, following, strict=True))


def _before(before_christ: str | None, *numbers: int) -> list[int]:
    return [1 - number for number in numbers] if before_christ else list(numbers)
