"""Progress of long work: a Rich bar on a terminal, plain lines with an estimate in a log, an object
a line for programs that ask for them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

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
_SECONDS_BETWEEN_OBJECTS = 0.5
_as_json = False


def add_progress(parser: argparse.ArgumentParser) -> None:
    """The option of commands that programs follow."""
    parser.add_argument(
        "--progress",
        choices=("text", "json"),
        default="text",
        help="json: every line an object, for programs, errors too",
    )


@contextmanager
def on_stderr() -> Iterator[None]:
    """Inside, progress goes to standard error: standard output is for the result."""
    console.stderr = True
    try:
        yield
    finally:
        console.stderr = False


@contextmanager
def progress_as(kind: str) -> Iterator[None]:
    """Inside, progress is "text" or "json": {"message": ...}, or {"step", "done", "total",
    "seconds_left"}, and at the end of some commands {"report": ...}."""
    global _as_json  # noqa: PLW0603
    before, _as_json = _as_json, kind == "json"
    try:
        yield
    finally:
        _as_json = before


def say(text: str) -> None:
    """Print one line of progress; `text` is printed as it is, brackets included."""
    if _as_json:
        tell(message=text)
    else:
        console.print(text, markup=False)


def say_to_people(text: str) -> None:
    """Print a line whose facts programs are told as an object."""
    if not _as_json:
        say(text)


def tell(**fields: Any) -> None:
    """Print an object, where objects are asked for."""
    if _as_json:
        console.print(json.dumps(fields, ensure_ascii=False), markup=False, soft_wrap=True)


def figure(value: float | None, digits: int = 3) -> str:
    """A measurement to print, "-" where it is not defined."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no "-0.000"


def counted(reasons: Mapping[str, int]) -> str:
    """Numbers by reason in words: "3 (1 broken link, 2 not a picture)"."""
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"{sum(reasons.values())}" + (f" ({listed})" if listed else "")


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done and how long the rest will take."""
    if console.is_terminal and not _as_json:
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
        pause = _SECONDS_BETWEEN_OBJECTS if _as_json else _SECONDS_BETWEEN_LINES
        if done == total or now - said >= pause:
            said = now
            left = (now - start) / done * (total - done)
            if _as_json:
                tell(step=what, done=done, total=total, seconds_left=round(left, 1))
            else:
                say(f"{what}: {done}/{total}, {left:.0f} s left")
