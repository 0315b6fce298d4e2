"""What a run of `artkin index` or `artkin rebuild` came to, as one object for programs."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel

from index.gate import Verdict
from index.plan import KINDS, Plan
from index.progress import tell
from index.release import ReleaseManifest
from index.source import Found


class Outcome(BaseModel):
    """The last line that `--progress json` prints, and the result of a rebuild over HTTP.

    Args:
        release: the one that has it all; None, a run that was no dry one would write it.
        is_new: whether it had to be, or would have to be, written.
        dry_run: nothing was done.
        published: whether it is the one that is served now.
        works: how many it has.
        differences: from the release served before, see `report.Report`.
        embedded: pictures that were, or would be.
        unusable, left_out: pictures and files by reason.
        exact_copies, near_copies: how many were found, where it was looked.
        seconds: by stage.
        images_a_second: embedded.
        verdict: the gate's on it; None, it was never judged.
    """

    release: str | None
    is_new: bool
    dry_run: bool = False
    published: bool = False
    works: int
    differences: dict[str, int]
    embedded: int
    unusable: dict[str, int]
    left_out: dict[str, int]
    exact_copies: int | None = None
    near_copies: int | None = None
    seconds: dict[str, float] = {}
    images_a_second: float | None = None
    verdict: Verdict | None = None

    def tell(self) -> None:
        """Print it, where objects are asked for; for people it was said in words."""
        tell(report=self.model_dump())


def of_new(manifest: ReleaseManifest) -> Outcome:
    """A release was written."""
    report = manifest.report
    assert report is not None
    return Outcome(
        release=manifest.id,
        is_new=True,
        works=manifest.works,
        differences=report.works,
        embedded=report.embedded,
        unusable=Counter(file.reason for file in manifest.bad),
        left_out=manifest.left_out,
        exact_copies=report.exact_copies.found,
        near_copies=report.near_copies.found if report.near_copies else None,
        seconds=report.seconds,
        images_a_second=report.images_a_second,
    )


def of_none(
    release: str | None, plan: Plan, found: Found, embedded: int, seconds: dict[str, float]
) -> Outcome:
    """Nothing was written.

    Args:
        release: that has it all already, if one does.
        plan: its differences are from the release served.
    """
    counts = Counter(one.kind for one in plan.differences())
    return Outcome(
        release=release,
        is_new=release is None,
        works=len(plan),
        differences={kind: counts[kind] for kind in KINDS},
        embedded=embedded,
        unusable=Counter(file.reason for file in found.bad),
        left_out=found.left_out,
        seconds=seconds,
    )
