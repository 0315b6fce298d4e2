"""Progress of long work: a Rich bar on a terminal, plain lines with an estimate in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
# In a pipe no table is cut to a terminal's width; "manifest.csv:100:" is a place and no picture.
console = Console(
    soft_wrap=True,
    highlight=False,
    emoji=False,
    width=None if sys.stdout and sys.stdout.isatty() else 10_000,
)
_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def on_stderr() -> Iterator[None]:
    """Inside, progress goes to standard error: standard output is for the result."""
    console.stderr = True
    try:
        yield
    finally:
        console.stderr = False


def say(text: str) -> None:
    """Print one line of progress; `text` is printed as it is, brackets included."""
    console.print(text, markup=False)


def figure(value: float | None, digits: int = 3) -> str:
    """A measurement to print, "-" where it is not defined."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no "-0.000"


def counted(reasons: Mapping[str, int]) -> str:
    """Numbers by reason in words: "3 (1 broken link, 2 not a picture)"."""
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"{sum(reasons.values())}" + (f" ({listed})" if listed else "")


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done and how long the rest will take."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=False) as bar:
            yield from bar.track(items, total=total, description=what)
        return
    start = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == total or now - said >= _SECONDS_BETWEEN_LINES:
            said = now
            left = (now - start) / done * (total - done)
            say(f"{what}: {done}/{total}, {left:.0f} s left")
