"""How a release came about: what differs from the one served before, and what it took.

In a release's manifest; who moved, changed or went is in `differences.jsonl` beside it, a line a
work, as many as there are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict

from index.plan import KINDS, Plan
from index.progress import counted, say_to_people
from index.reading import BadFile

SHOWN = 10
MOST_COPIES = 100


class Copies(BaseModel):
    """Works that are each other's pictures.

    Args:
        found: pairs or groups.
        names: of at most 100 of them.
        note: among which works was looked.
    """

    model_config = ConfigDict(extra="forbid")

    found: int
    names: list[list[str]]
    note: str


class Report(BaseModel):
    """What a job did.

    Args:
        before: the release that was served; None, none was.
        works: how many were added, changed (another picture under the same id), moved (the same
            file under another name), described anew (class, title, date), removed.
        embedded: pictures; all others were known.
        exact_copies: works whose files are the same, byte by byte.
        near_copies: works whose pictures the model takes for the same; None where it cannot tell.
        seconds: by stage.
        images_a_second: embedded, decoding and thumbnails included.
    """

    model_config = ConfigDict(extra="forbid")

    before: str | None
    works: dict[str, int]
    embedded: int
    exact_copies: Copies
    near_copies: Copies | None
    seconds: dict[str, float]
    images_a_second: float | None


class Stages:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the block's time to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            spent = self.seconds.get(name, 0.0) + time.monotonic() - start
            self.seconds[name] = round(spent, 3)


def exact_copies(plan: Plan) -> Copies:
    """Groups of works whose files are the same."""
    groups = plan.exact_copies()
    return Copies(found=len(groups), names=groups[:MOST_COPIES], note="among all works")


def show_differences(plan: Plan) -> None:
    """Print what differs, the first names of each kind."""
    counts = dict.fromkeys(KINDS, 0)
    shown: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for one in plan.differences():
        counts[one.kind] += 1
        if len(shown[one.kind]) < SHOWN:
            shown[one.kind].append(one.name)
    for kind in KINDS:
        if counts[kind]:
            say_to_people(f"{kind}: {counts[kind]} ({_some(shown[kind], counts[kind])})")


def show_report(
    report: Report, works: int, bad: list[BadFile], left_out: Mapping[str, int]
) -> None:
    """Print the end of a job."""
    rate = "" if report.images_a_second is None else f", {report.images_a_second:.1f} a second"
    say_to_people(f"{works} works, {report.embedded} of them embedded now{rate}")
    say_to_people(f"unusable pictures: {counted(Counter(file.reason for file in bad))}")
    say_to_people(f"left out: {counted(left_out)}")
    for what, copies in (("exact", report.exact_copies), ("near", report.near_copies)):
        if copies and copies.found:
            say_to_people(f"{what} copies: {copies.found} ({_some(_pairs(copies), copies.found)})")
    say_to_people(
        "seconds: " + ", ".join(f"{name} {took:.1f}" for name, took in report.seconds.items())
    )


def _pairs(copies: Copies) -> list[str]:
    return [" = ".join(names) for names in copies.names[:SHOWN]]


def _some(names: list[str], total: int) -> str:
    more = f", and {total - len(names)} more" if total > len(names) else ""
    return ", ".join(names) + more
