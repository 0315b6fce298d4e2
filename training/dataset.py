"""A collection to training arrays: every picture decoded once, to the very pixels of serving.

Pixels go to one uint8 memmap on disk, so memory does not grow with them. Test works are
those of the folder `test/`, or a share held out where there is none. Validation works are a share
of the rest: epochs, phases and recipes are chosen on them, never on test. Both are drawn with a
seed of their own, so that runs of other seeds can be compared and none has seen another's test.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.collection import Collection, Work
from index.looks import copies, copy_sketch
from index.progress import say, track
from index.reading import Picture, in_order, read_picture
from index.space.artefact import new_file
from index.space.errors import BadInput, ImageRejected
from index.space.preprocessing import Preprocessing
from training.state import reading

VALIDATION_SHARE = 0.1
# P@5 needs six works of a class to be able to reach 1; a small class gives up to a quarter.
VALIDATION_WORKS, VALIDATION_SHARE_AT_MOST = 6, 0.25
TEST_SHARE = 0.15
_SPLIT_SEED = 0
_PIXELS, WORKS = "pixels.u8", "works.json"


@dataclass(frozen=True)
class Dataset:
    """Decoded works in order; row i of every field is work i.

    Args:
        pixels: uint8 (works, size, size, 3), a read-only memmap.
        labels: int64 (works,), indices of `classes`.
        names: paths inside the collection.
        digests: SHA-256 of each file.
        same: equal for copies of one work, as `index/looks.py` finds them.
        parts: rows of "train", "validation", "test" and "unused" (a test class not trained on, or
            a copy of a picture in another part, which would flatter).
        classes: names, sorted.
        facts: what the report says of the pictures, as its `data`.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: list[str]
    digests: list[str]
    same: list[str]
    parts: dict[str, NDArray[np.int64]]
    classes: list[str]
    facts: dict[str, Any]


def prepare_dataset(collection: Collection, size: int, folder: Path) -> Dataset:
    """Decode a collection into `folder` and split it.

    Raises:
        BadInput: fewer than two classes, a class with a single training picture, no test works.
        OSError: no room for the pixels.
    """
    works = [work for work in collection.works if work.label is not None]
    if strays := len(collection.works) - len(works):
        say(f"left out: {strays} pictures outside any class folder")
    _check_classes(works)
    _check_room(folder, len(works) * size * size * 3)
    with new_file(folder / _PIXELS) as path:
        bad: list[dict[str, str]] = []
        kept = list(_decode_all(works, Preprocessing(height=size, width=size), path, bad))
    facts = {"pictures": len(kept), "unreadable": bad} | _looks([p for _, p in kept], size)
    say(
        f"{len(kept)} pictures read, {len(bad)} skipped, {facts['grey']} black and white, "
        f"{facts['enlarged']} smaller than the {size} pixels of the input and so enlarged"
    )
    if works and not kept:
        raise BadInput(f"none of the {len(works)} pictures can be used; each is named above")
    classes = _check_classes([work for work, _ in kept])
    split = _split([work for work, _ in kept])
    pixels = np.memmap(folder / _PIXELS, np.uint8, "r", shape=(len(kept), size, size, 3))
    sketches = np.stack([copy_sketch(Image.fromarray(np.asarray(picture))) for picture in pixels])
    groups = copies(sketches)
    same = [group or picture.sha256 for group, (_, picture) in zip(groups, kept, strict=True)]
    aside = _set_copies_aside(split, same)
    if "validation" not in split:
        raise BadInput(
            "training needs works to choose its best epoch by, which are not trained on or tested "
            "with under another name; add two different pictures at least to some class"
        )
    if "test" not in split:
        raise BadInput(
            "training needs test works of the classes trained on: a folder test/ with pictures "
            "that are not in train/ too, or three pictures at least in some class"
        )
    document = {
        "size": size,
        "classes": classes,
        "files": _files(collection),
        "works": [
            {
                "name": work.name,
                "label": work.label,
                "sha256": picture.sha256,
                "same": one,
                "grey": picture.greyscale,
                "part": part,
            }
            for (work, picture), one, part in zip(kept, same, split, strict=True)
        ],
        "facts": facts | {"copies": aside, "by_class": _by_class(kept, split)},
    }
    with new_file(folder / WORKS) as path:
        path.write_text(json.dumps(document), encoding="utf-8")
    return load_dataset(folder)


def check_same(collection: Collection, folder: Path) -> None:
    """See that a collection is the one that a run was started with.

    Raises:
        BadInput: files have come, gone, changed their size or their class.
        ArtefactError: the run's own list is damaged.
    """
    with reading(folder / WORKS):
        before = json.loads((folder / WORKS).read_text(encoding="utf-8"))["files"]
    now = _files(collection)
    classes = _classes(before) ^ _classes(now)
    if classes:
        raise BadInput(
            "a run is resumed with the classes it was started with; come or gone: "
            f"{', '.join(sorted(classes))}; start another run with --run"
        )
    different = sorted(name for name in before.keys() | now if before.get(name) != now.get(name))
    if different:
        raise BadInput(
            f"a run is resumed with the collection it was started with; {len(different)} pictures "
            "have come, gone, changed or got another class, the first "
            f"{different[0]}; start another run with --run"
        )


def _files(collection: Collection) -> dict[str, list[Any]]:
    """Size in bytes (0 where a file cannot be read) and class of the works by name."""
    return {
        work.name: [work.path.stat().st_size if work.path.exists() else 0, work.label]
        for work in collection.works
    }


def remove_dataset(folder: Path) -> None:
    """Take back what `prepare_dataset` has written, and the folder where nothing else is in it."""
    for name in (_PIXELS, WORKS):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _classes(files: Mapping[str, Any]) -> set[str]:
    return {str(label) for _, label in files.values() if label is not None}


def load_dataset(folder: Path) -> Dataset:
    """The data set that `prepare_dataset` left in a run's folder.

    Raises:
        ArtefactError: one of its files is missing or damaged.
    """
    rows: dict[str, list[int]] = {"train": [], "validation": [], "test": [], "unused": []}
    with reading(folder / WORKS):
        document = json.loads((folder / WORKS).read_text(encoding="utf-8"))
        works, classes, size = document["works"], document["classes"], document["size"]
        facts = dict(document.get("facts", {}))
        for row, work in enumerate(works):
            rows[work["part"]].append(row)
    codes = {name: code for code, name in enumerate(classes)}
    with reading(folder / _PIXELS):
        found, expected = (folder / _PIXELS).stat().st_size, len(works) * size * size * 3
        if found != expected:
            raise ValueError(f"{found} bytes, not {expected}")
    return Dataset(
        pixels=np.memmap(folder / _PIXELS, np.uint8, "r", shape=(len(works), size, size, 3)),
        labels=np.array([codes.get(work["label"], -1) for work in works], np.int64),
        names=[work["name"] for work in works],
        digests=[work["sha256"] for work in works],
        # Runs of before have files alone.
        same=[work.get("same", work["sha256"]) for work in works],
        parts={part: np.array(found, np.int64) for part, found in rows.items()},
        classes=classes,
        facts=facts,
    )


def _looks(pictures: Sequence[Picture], size: int) -> dict[str, int]:
    """How many are black and white, and smaller than the input."""
    return {
        "grey": sum(picture.greyscale for picture in pictures),
        "enlarged": sum(min(picture.width, picture.height) < size for picture in pictures),
    }


def _by_class(
    kept: Sequence[tuple[Work, Picture]], split: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Works of each class that is trained on, by part."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for (work, _), part in zip(kept, split, strict=True):
        counts[str(work.label)][part] += 1
    parts = ("train", "validation", "test")
    return {
        label: {part: found[part] for part in parts}
        for label, found in counts.items()
        if found["train"]
    }


def _check_classes(works: Sequence[Work]) -> list[str]:
    """Names of the classes that can be trained on, sorted."""
    sizes = Counter(work.label for work in works if work.split != "test" and work.label)
    if not sizes and works:
        raise BadInput("the collection has test/ alone; put the pictures to train on into train/")
    if len(sizes) < 2:
        found = ", ".join(sizes) or "none"
        raise BadInput(f"training needs at least two class folders with pictures; received {found}")
    small = sorted(name for name, size in sizes.items() if size < 2)
    if small:
        raise BadInput(
            f"every class needs at least 2 training pictures; {', '.join(small)} has 1: add "
            "pictures to it or move it away"
        )
    return sorted(sizes)


def _check_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BadInput(
            f"{folder} must have {needed / 1e9:.1f} GB free for the decoded pictures; it has "
            f"{free / 1e9:.1f} GB"
        )


def _decode_all(
    works: Sequence[Work], spec: Preprocessing, path: Path, bad: list[dict[str, str]]
) -> Iterator[tuple[Work, Picture]]:
    """Write pixels row by row; yield the works that could be decoded, name those that could not
    and add them to `bad`."""

    def read(work: Work) -> tuple[Picture, NDArray[np.uint8]]:
        picture, pixels, _ = read_picture(work.path, spec)
        return picture, pixels

    # Written, not mapped: a full disk is then an error with a name and not a dead process.
    with path.open("wb") as file:
        for work, result in track(in_order(read, works), len(works), "reading pictures"):
            if isinstance(result, ImageRejected):
                say(f"skipped {work.name}: {result.slug}: {result}")
                bad.append({"name": work.name, "reason": result.slug})
                continue
            picture, pixels = result
            file.write(pixels.tobytes())
            yield work, picture


def _validation_works(works: int) -> int:
    """How many of a class's works validate: at least one, and one is left to train on."""
    at_most = max(1, round(works * VALIDATION_SHARE_AT_MOST))
    return min(works - 1, at_most, max(VALIDATION_WORKS, round(works * VALIDATION_SHARE)))


def _split(works: Sequence[Work]) -> list[str]:
    """Part of each work: "train", "validation", "test", or "unused" (its class is not trained)."""
    has_test = any(work.split == "test" for work in works)
    trained = {work.label for work in works if work.split != "test"}
    rng = np.random.default_rng(_SPLIT_SEED)
    parts = ["test" if work.split == "test" else "train" for work in works]
    for label in sorted(label for label in trained if label):
        rows = [row for row, work in enumerate(works) if work.label == label]
        rows = list(rng.permutation([row for row in rows if parts[row] == "train"]))
        # Every class keeps a training picture; with two, the other one validates.
        if not has_test and len(rows) > 2:
            for row in rows[: max(1, round(len(rows) * TEST_SHARE))]:
                parts[row] = "test"
            rows = [row for row in rows if parts[row] == "train"]
        for row in rows[: _validation_works(len(rows))]:
            parts[row] = "validation"
    strangers = sorted({str(work.label) for work in works} - {str(label) for label in trained})
    if strangers:
        say(f"left out: test works of classes not in train/: {', '.join(strangers)}")
    return [
        part if work.label in trained else "unused" for part, work in zip(parts, works, strict=True)
    ]


def _set_copies_aside(parts: list[str], same: Sequence[str]) -> dict[str, int]:
    """A picture that is trained on measures nothing, whatever its name or its file's format; nor
    is an epoch chosen by a picture that is tested with.

    Returns:
        How many works have left "validation" and "test" for "unused".
    """
    aside = {}
    seen = {one for one, part in zip(same, parts, strict=True) if part == "train"}
    for part, where in (("test", "trained on"), ("validation", "trained on or tested with")):
        rows = [row for row, of in enumerate(parts) if of == part]
        found = [row for row in rows if same[row] in seen]
        for row in found:
            parts[row] = "unused"
        seen |= {same[row] for row in rows}
        aside[part] = len(found)
        if found:
            say(f"left out of {part}: {len(found)} copies of pictures that are {where}")
    return aside
