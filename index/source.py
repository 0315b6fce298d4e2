"""What a job indexes: a collection's folder, and what was added and removed while it was served."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from index.changes import CHANGES, Change, is_added, read_changes
from index.collection import Collection, Work, add_folders, read_collection
from index.plan import Plan
from index.progress import add_progress, say, track
from index.reading import BadFile, in_order, read_digest
from index.roots import find_roots
from index.space.artefact import refuse_file
from index.space.errors import BadInput, ImageRejected, shortened


@dataclass(frozen=True)
class Source:
    """What is to be indexed.

    Args:
        roots: the collection's folders.
        exclude: shell patterns of paths inside the collection to leave out.
        state: of a service; what was added to it and removed from it counts. It may be missing.
        max_bad: percent of the pictures that may be unusable.
        manifest, follow_links: see `index.collection.read_collection`.
    """

    roots: Sequence[Path]
    exclude: Sequence[str] = ()
    state: Path = Path("state")
    max_bad: float = 5.0
    manifest: Path | None = None
    follow_links: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad <= 100:
            raise BadInput(
                f"--max-bad must be a percentage from 0 to 100; received {self.max_bad:g}"
            )


@dataclass
class Found:
    """What reading a source found besides its works.

    Args:
        works: pictures, usable or not.
        left_out: files that are no works, by reason.
        bad: pictures that cannot be used.
    """

    works: int
    left_out: Counter[str]
    bad: list[BadFile] = field(default_factory=list)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin index` and `artkin rebuild`."""
    add_folders(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where to write")
    parser.add_argument(
        "--max-bad",
        type=float,
        default=5.0,
        metavar="PERCENT",
        help="stop when more of the pictures cannot be used (default 5)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out paths inside the collection, e.g. 'drafts/*'; may be repeated",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("state"),
        metavar="DIR",
        help="of the service: works added to it and removed from it count (default: state)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )
    add_progress(parser)


def source_of(options: argparse.Namespace) -> Source:
    """The source that options name."""
    return Source(
        options.collection,
        options.exclude,
        options.state,
        options.max_bad,
        options.manifest,
        options.follow_links,
    )


def read_source(source: Source, plan: Plan) -> Found:
    """List a source's works with the digests of their files into a plan.

    Raises:
        BadInput: no such folder, no pictures in it, it cannot be read whole, or its manifest
            cannot be used.
    """
    before = [_identity(root) for root in source.roots]
    collection = read_collection(source.roots, source.exclude, source.manifest, source.follow_links)
    for warning in collection.warnings:
        say(f"warning: {warning}")
    refuse_unreadable(collection)
    changes = read_changes(source.state / CHANGES)
    works = _changed(collection.works, changes)
    found = Found(len(works), Counter(collection.left_out))
    if removed := len(collection.works) - sum(not is_added(work.name) for work in works):
        found.left_out["removed or replaced"] = removed
    gone = {change.sha256 for change in changes if change.kind == "removed" and change.sha256}
    plan.add(_digests(works, found, gone))
    for root, identity in zip(source.roots, before, strict=True):
        if _identity(root) != identity:
            raise BadInput(
                f"the collection must stay while it is read; {root} went away or became another "
                "folder, and nothing was taken for removed; mount its disk and run it again"
            )
    return found


def refuse_unreadable(collection: Collection) -> None:
    """See that nothing of a collection is missing for want of a permission.

    Raises:
        BadInput: something is.
    """
    if collection.unreadable:
        raise BadInput(
            "every folder of the collection must be readable, or its works would be taken for "
            f"removed; received {shortened(collection.unreadable)}; make them readable, or leave "
            "them out with --exclude"
        )


def refuse_bad_places(source: Source, releases: Path) -> None:
    """Check the folders before anything is read or written.

    Raises:
        BadInput: there is no collection, releases are below it, or a file is in their place.
    """
    find_roots(source.roots)
    refuse_file(releases, "--releases")
    for root in source.roots:
        if releases.resolve().is_relative_to(root.resolve()):
            raise BadInput(
                "releases must not be inside the collection, or the next run would index them; "
                f"received {releases} in {root}; name another folder with --releases"
            )


def _digests(
    works: Sequence[Work], found: Found, gone: Container[str]
) -> Iterator[tuple[Work, str]]:
    """Works with the digests of their files; without those that were removed under another name."""
    results = in_order(lambda work: read_digest(work.path), works)
    for work, result in track(results, len(works), "reading files"):
        if isinstance(result, ImageRejected):
            found.bad.append(BadFile(name=work.name, reason=result.slug, message=str(result)))
            say(f"skipped {work.name}: {result.slug}: {result}")
        elif result in gone and not is_added(work.name):
            found.left_out["removed, under another name"] += 1
        else:
            yield work, result


def _changed(works: Sequence[Work], changes: Sequence[Change]) -> list[Work]:
    """The works with what was added, and without what was removed or added anew."""
    gone = {change.id for change in changes if change.kind != "allowed"}
    added = [work for change in changes if (work := change.work())]
    return [*(work for work in works if work.id not in gone), *added]


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
