"""Years of works counted by decade or by century, as a filter's `date` takes them.

A work that spans several is counted in each, as a filter finds it in each. Centuries end with the
hundred, as in `index/dates.py`: the 18th is 1701..1800.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FIRST = -9999  # the first year that a filter can name


def by_years(spans: Iterable[tuple[int, int, int]], most: int) -> tuple[int, list[tuple[str, int]]]:
    """Decades, or centuries where there are more than `most` decades.

    Args:
        spans: first year, last year and how many works have them.

    Returns:
        How many decades or centuries have works, and at most `most` of them, those with the most
        works, in the order of time, each with its works.

    Example:
        >>> by_years([(1885, 1885, 2), (1889, 1890, 1)], 10)
        (2, [('1880..1889', 3), ('1890..1899', 1)])
        >>> by_years([(1885, 1885, 2), (1889, 1901, 1)], 2)
        (2, [('1801..1900', 3), ('1901..2000', 1)])
    """
    first, last, works = np.array(list(spans), np.int64).T
    counts = _counted(first, last, works, years=10, start=0)
    if len(counts) > most:
        counts = _counted(first, last, works, years=100, start=1)
    frequent = sorted(counts, key=lambda year: (-counts[year][1], year))[:most]
    return len(counts), [counts[year] for year in sorted(frequent)]


def _counted(
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    works: NDArray[np.int64],
    years: int,
    start: int,
) -> dict[int, tuple[str, int]]:
    """Spans of so many years by their first year, which leaves `start` when divided by `years`."""
    begins, ends = (first - start) // years, (last - start) // years
    lowest = int(begins.min())
    steps = np.zeros(int(ends.max()) - lowest + 2, np.int64)
    np.add.at(steps, begins - lowest, works)
    np.add.at(steps, ends - lowest + 1, -works)
    found = {}
    for place, count in enumerate(np.cumsum(steps).tolist()):
        if count:
            year = (lowest + place) * years + start
            found[year] = (f"{max(year, FIRST)}..{year + years - 1}", count)
    return found
