"""`artkin check`: look a collection over before training on it or indexing it.

    artkin check COLLECTION [--size 224] [--json]

Every picture is decoded, as training and indexing will. Nothing is written.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from index.collection import Collection, Work, add_folders, read_collection
from index.progress import console, counted, say, track
from index.reading import BadFile, Picture, in_order, read_picture
from index.space.errors import BadInput, BadRows, ImageRejected
from index.space.preprocessing import Preprocessing

_NAMES_SHOWN = 10
K = 5
SIZE = 224  # the default preset's; index may not import training, a test compares the two


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin check`."""
    add_folders(parser)
    parser.add_argument(
        "--size",
        type=int,
        default=SIZE,
        help=f"side of the model's input in pixels (default {SIZE}, the default preset's)",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def main(options: argparse.Namespace) -> None:
    """Run `artkin check`."""
    try:
        collection = read_collection(options.collection, (), options.manifest, options.follow_links)
    except BadRows as error:
        _name_problems(error.problems, options.json)
        raise
    found = check(collection, options.size, quiet=options.json)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    if not found.works:
        raise BadInput(
            f"none of the {len(found.bad)} pictures can be used, the first "
            f"{found.bad[0].name}: {found.bad[0].message}"
        )


def _name_problems(problems: list[str], as_json: bool) -> None:
    """All of them, since the error that follows names twenty."""
    if as_json:
        print(json.dumps({"problems": problems}, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            say(problem)


@dataclass(frozen=True)
class ClassSize:
    """Usable works of one class in one split; label and split are None where there is none."""

    split: str | None
    label: str | None
    works: int


@dataclass(frozen=True)
class Check:
    """What a collection is like.

    Args:
        size: side of the model's input that the pictures were held against, in pixels.
        works: usable pictures.
        classes: their number by split and class.
        left_out: files that are no works, by reason.
        bad: pictures that cannot be used.
        greyscale: names of pictures without colour.
        enlarged: names of pictures with a side shorter than the model's input.
        in_both_splits: names of identical files, of which some train and some test.
        small_classes: classes that cannot reach a Precision@5 of 1: fewer than 6 works.
        imbalance: works of the largest class over those of the smallest; None without classes.
        warnings: of the collection itself.
        unreadable: folders that could not be read, with the reason.
        without_file: the manifest's rows that no file was found for.
    """

    size: int
    works: int
    classes: list[ClassSize]
    left_out: dict[str, int]
    bad: list[BadFile]
    greyscale: list[str]
    enlarged: list[str]
    in_both_splits: list[list[str]]
    small_classes: list[ClassSize]
    imbalance: float | None
    warnings: list[str]
    unreadable: list[str]
    without_file: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self) | {"bad": [file.model_dump() for file in self.bad]}


def check(collection: Collection, size: int = SIZE, quiet: bool = False) -> Check:
    """Decode a collection's pictures and describe it.

    Args:
        size: side of the model's input, in pixels.
        quiet: show no progress.

    Raises:
        BadInput: a size that no model has.
    """
    if not 32 <= size <= 1024:
        raise BadInput(f"--size must be from 32 to 1024 pixels; received {size}")
    spec = Preprocessing(height=size, width=size)
    results = in_order(lambda work: read_picture(work.path, spec)[0], collection.works)
    if not quiet:
        results = track(results, len(collection.works), "checking")
    good: list[tuple[Work, Picture]] = []
    bad: list[BadFile] = []
    for work, result in results:
        if isinstance(result, ImageRejected):
            bad.append(BadFile(name=work.name, reason=result.slug, message=str(result)))
        else:
            good.append((work, result))
    classes = _classes(work for work, _ in good)
    return Check(
        size=size,
        works=len(good),
        classes=classes,
        left_out=collection.left_out,
        bad=bad,
        greyscale=[work.name for work, picture in good if picture.greyscale],
        enlarged=[w.name for w, picture in good if min(picture.width, picture.height) < size],
        in_both_splits=_in_both_splits(good),
        small_classes=[c for c in classes if c.label is not None and c.works < K + 1],
        imbalance=_imbalance(work for work, _ in good),
        warnings=collection.warnings,
        unreadable=collection.unreadable,
        without_file=collection.without_file,
    )


def _classes(works: Iterable[Work]) -> list[ClassSize]:
    counts = Counter((work.split, work.label) for work in works)
    return [
        ClassSize(split, label, count)
        for (split, label), count in sorted(counts.items(), key=lambda item: str(item[0]))
    ]


def _imbalance(works: Iterable[Work]) -> float | None:
    counts = Counter(work.label for work in works if work.label is not None)
    return max(counts.values()) / min(counts.values()) if counts else None


def _in_both_splits(good: Iterable[tuple[Work, Picture]]) -> list[list[str]]:
    same: defaultdict[str, list[Work]] = defaultdict(list)
    for work, picture in good:
        same[picture.sha256].append(work)
    return [
        [work.name for work in works]
        for works in same.values()
        if len({work.split for work in works}) > 1
    ]


def _show(found: Check) -> None:
    for warning in found.warnings:
        say(f"warning: {warning}")
    _show_classes(found)
    say(f"{found.works} usable pictures")
    if found.left_out:
        say(f"left out: {counted(found.left_out)}")
    sections = _sections(found)
    for what, names in sections.items():
        if names:
            _show_names(what, names)
    none = [what for what, names in sections.items() if not names]
    if none:
        say(f"none: {'; '.join(none)}")
    if found.imbalance is not None:
        say(f"largest class / smallest class: {found.imbalance:.1f}")
    for reason in _against_training(found):
        say(f"training would refuse it: {reason}")


def _against_training(found: Check) -> list[str]:
    """What `artkin train` will refuse."""
    train = [c for c in found.classes if c.label is not None and c.split != "test"]
    single = [_name(c) for c in train if c.works < 2]
    reasons = [f"{name} has a single picture, a class needs 2" for name in single]
    if len(train) < 2:
        reasons.append(f"{len(train)} classes to train on, 2 are needed")
    return reasons


def _sections(found: Check) -> dict[str, Sequence[str]]:
    """What is looked for, with the names it was found at."""
    return {
        "unusable": [f"{f.name}: {f.reason}: {f.message}" for f in found.bad],
        "black-and-white": found.greyscale,
        f"smaller than the model's {found.size} pixels, enlarged": found.enlarged,
        "identical in train and test": [" = ".join(same) for same in found.in_both_splits],
        f"classes of fewer than {K + 1} works, which cannot reach Precision@{K} = 1": [
            f"{_name(c)}: {c.works}" for c in found.small_classes
        ],
    }


def _show_classes(found: Check) -> None:
    splits = sorted({c.split for c in found.classes}, key=str)
    table = Table("class", *(split or "works" for split in splits))
    counts = {(c.label, c.split): c.works for c in found.classes}
    for label in sorted({c.label for c in found.classes}, key=lambda label: label or ""):
        table.add_row(
            Text(label or "(no class)"), *(str(counts.get((label, s), 0)) for s in splits)
        )
    console.print(table)


def _show_names(what: str, names: Sequence[str]) -> None:
    say(f"{what}: {len(names)}")
    for name in names[:_NAMES_SHOWN]:
        say(f"  {name}")
    if len(names) > _NAMES_SHOWN:
        say(f"  and {len(names) - _NAMES_SHOWN} more, --json names all")


def _name(class_: ClassSize) -> str:
    return "/".join(part for part in (class_.split, class_.label) if part)
