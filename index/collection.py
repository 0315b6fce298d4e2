"""A folder of artworks to a list of works: one reading of folders for training and index.

    COLLECTION/<class>/.../picture        class = the first folder
    COLLECTION/train|test/<class>/...     the split in front of it
    COLLECTION/picture                    no class: indexed, not trained on
    COLLECTION/manifest.csv               optional: path, id, title, artist, date, ...

Whether a file is a picture is told by its content; a file that only its name calls a picture is
listed too, so that decoding can say what is wrong with it. Hidden and system files are left out
and counted. A linked folder is followed once; of two paths to one file the first in order counts.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from index.space.errors import BadInput
from index.space.preprocessing import sniff

SPLITS = ("train", "test")
MANIFEST = "manifest.csv"
ID_RULE = "an id has 1 to 128 printed characters, no '/', and is not '.' or '..'"
_PLACES_SHOWN = 20
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "@eadir", "__macosx"}
_PICTURE_ENDINGS = {
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".jp2"),
    *(".avif", ".heic", ".heif"),
}


@dataclass(frozen=True)
class Work:
    """One artwork of a collection.

    Args:
        id: the manifest's own, else derived from the path inside the collection.
        path: where its picture is.
        name: that path inside the collection, forward slashes.
        label: its class, or None.
        split: "train", "test", or None where the collection is not split.
        metadata: the manifest's other columns (title, artist, date, ...), empty ones left out.
    """

    id: str
    path: Path
    name: str
    label: str | None
    split: str | None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """The works of a folder, in order of their names, and what was left out.

    Args:
        root: the folder.
        works: every file that is or claims to be a picture.
        left_out: number of files by reason.
        warnings: lines that the owner should read.
    """

    root: Path
    works: list[Work]
    left_out: dict[str, int]
    warnings: list[str]


class _Row(NamedTuple):
    """A row of manifest.csv: the line it ends in, and its cells that are not empty."""

    line: int
    cells: dict[str, str]


def read_collection(root: Path, exclude: Sequence[str] = ()) -> Collection:
    """List the works below a folder.

    Args:
        exclude: shell patterns of paths inside the collection to leave out ("drafts/*").

    Raises:
        BadInput: no such folder, no pictures in it, or an unusable manifest.csv.
    """
    if not root.is_dir():
        raise BadInput(f"the collection must be a folder; received {root}, which is not one")
    left_out: Counter[str] = Counter()
    files = list(_pictures(root, exclude, left_out))
    if not files:
        raise BadInput(f"{root} holds no pictures; give the folder that has them in or below it")
    warnings: list[str] = []
    rows = _read_manifest(root, warnings)
    split = any(Path(name).parts[0] in SPLITS for name in files if "/" in name)
    # Line 0: the work has no row, and its id comes from its path.
    given = [rows.pop(_key(name), _Row(0, {})) for name in files]
    works = [_work(root, name, row.cells, split) for name, row in zip(files, given, strict=True)]
    lost = [name for name in rows if not _is_excluded(name, exclude)]
    warnings += _disagreements(works, split)
    warnings += _empty_classes(root, works, split)
    if lost:
        warnings.append(f"{MANIFEST}: rows without a picture: {len(lost)}, the first {lost[0]!r}")
    _check_ids(root, works, [row.line for row in given])
    return Collection(root, works, dict(left_out), warnings)


def _pictures(root: Path, exclude: Sequence[str], left_out: Counter[str]) -> Iterator[str]:
    seen_folders: set[str] = set()
    seen_files: set[str] = set()

    def unreadable(error: OSError) -> None:
        left_out[f"unreadable folder {error.filename}"] += 1

    for folder, folders, files in os.walk(root, followlinks=True, onerror=unreadable):
        real = os.path.realpath(folder)
        if real in seen_folders:
            folders.clear()
            continue
        seen_folders.add(real)
        folders[:] = sorted(name for name in folders if not _is_system(name))
        for file in sorted(files):
            path = os.path.join(folder, file)
            name = Path(path).relative_to(root).as_posix()
            reason = _why_left_out(path, name, exclude, seen_files)
            if reason is None:
                yield name
            elif reason:
                left_out[reason] += 1


def _why_left_out(path: str, name: str, exclude: Sequence[str], seen: set[str]) -> str | None:
    """None for a picture, else the reason; the collection's own manifest is left out silently."""
    if name == MANIFEST:
        return ""
    if _is_system(os.path.basename(name)):
        return "hidden or system file"
    if _is_excluded(name, exclude):
        return "excluded"
    if not os.path.exists(path):
        return "broken link"
    real = os.path.realpath(path)
    if real in seen:
        return "second path to one file"
    seen.add(real)
    if os.path.splitext(name)[1].lower() in _PICTURE_ENDINGS or _has_signature(path):
        return None
    return f"not a picture ({_ending(name)})"


def _ending(name: str) -> str:
    """For counting, so only what looks like one: not the rest of "letter of 3. May, to Mr. X"."""
    ending = os.path.splitext(name)[1].lower()
    return ending if len(ending) <= 9 and ending[1:].isalnum() else "no usual ending"


def _is_excluded(name: str, exclude: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in exclude)


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _has_signature(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return sniff(file.read(32)) is not None
    except OSError:
        return False


def _key(name: str) -> str:
    """A path as manifests are matched by it: composed and decomposed accents are one."""
    return unicodedata.normalize("NFC", name)


def _work(root: Path, name: str, row: dict[str, str], is_split: bool) -> Work:
    split, folder = _split_and_class(name, is_split)
    label = row.pop("class", "") or folder
    digest = hashlib.sha256(_key(name).encode("utf-8", "surrogateescape")).hexdigest()
    id_ = row.pop("id", "") or digest[:16]
    return Work(id_, root / name, _printable(name), label and _printable(label), split, row)


def _split_and_class(name: str, is_split: bool) -> tuple[str | None, str | None]:
    """What the folders of a path inside the collection say."""
    folders = list(Path(name).parts[:-1])
    split = folders.pop(0) if is_split and folders and folders[0] in SPLITS else None
    return split, folders[0] if folders else None


def _disagreements(works: Sequence[Work], is_split: bool) -> Iterator[str]:
    """The manifest's class counts: it is the finer tool. Said, because it may be a slip."""
    found = [
        (work, folder)
        for work in works
        if (folder := _split_and_class(work.name, is_split)[1]) not in (None, work.label)
    ]
    if found:
        work, folder = found[0]
        yield (
            f"{MANIFEST} and folders disagree on the class of {len(found)} works, the first "
            f"{work.name}: {work.label}, folder {folder}; {MANIFEST} counts"
        )


def _empty_classes(root: Path, works: Sequence[Work], is_split: bool) -> Iterator[str]:
    filled = {Path(work.name).parts[:-1] for work in works}
    filled |= {folders[:depth] for folders in filled for depth in range(len(folders))}
    places = [root / split for split in SPLITS] if is_split else [root]
    folders = [
        _printable(folder.relative_to(root).as_posix())
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.is_dir() and not _is_system(folder.name)
    ]
    empty = [folder for folder in folders if Path(folder).parts not in filled]
    if empty:
        yield f"class folders without a picture: {len(empty)}, the first {empty[0]}"


def _printable(name: str) -> str:
    """A name that is not UTF-8 on the disk, such that it can be printed and stored: caf\\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _read_manifest(root: Path, warnings: list[str]) -> dict[str, _Row]:
    """Rows of manifest.csv by path."""
    path = root / MANIFEST
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} must be UTF-8; byte {error.start} is not") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        table = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadInput(f"{path}:{reader.line_num + 1}: not a row of CSV: {error}") from error
    if "path" not in (reader.fieldnames or []):
        warnings.append(f"{MANIFEST} is not used: it has no column 'path' ({reader.fieldnames})")
        return {}
    rows: dict[str, _Row] = {}
    for line, row in table:
        cells = {k: v.strip() for k, v in row.items() if k and isinstance(v, str) and v.strip()}
        name = _key(cells.pop("path", ""))
        if not name or name in rows:
            raise BadInput(f"{path}:{line}: every row needs a path of its own")
        rows[name] = _Row(line, cells)
    return rows


def is_usable_id(id_: str) -> bool:
    """Whether it can stand in a URL and be read."""
    is_said = 0 < len(id_.strip()) <= len(id_) <= 128 and id_.isprintable()
    return is_said and "/" not in id_ and id_ not in (".", "..")


def _check_ids(root: Path, works: Sequence[Work], lines: Sequence[int]) -> None:
    """Say every row whose id cannot be used, so that all of them can be mended at once."""
    owners: dict[str, str] = {}
    faults: list[tuple[str, str]] = []
    for line, work in sorted(zip(lines, works, strict=True), key=lambda pair: pair[0]):
        place = f"{MANIFEST}:{line}" if line else work.name
        if not is_usable_id(work.id):
            faults.append((place, f"{ID_RULE}; received {work.id!r}"))
        elif work.id in owners:
            already = f"{work.id!r}, which {owners[work.id]} has already"
            faults.append((place, f"ids must be unique; received {already}"))
        owners.setdefault(work.id, work.name)
    if faults:
        place, said = faults[0]
        raise BadInput(f"{root / place}: {said}{_more([place for place, _ in faults[1:]])}")


def _more(places: Sequence[str]) -> str:
    if not places:
        return ""
    end = ", ..." if len(places) > _PLACES_SHOWN else ""
    return f" ({len(places)} more: {', '.join(places[:_PLACES_SHOWN])}{end})"
