"""Folders of artworks to a list of works: one reading of them for training and index.

    COLLECTION/<class>/.../picture        class = the first folder
    COLLECTION/train|test/<class>/...     the split in front of it
    COLLECTION/picture                    no class: indexed, not trained on
    COLLECTION/manifest.csv               optional, or .jsonl or .parquet: `index/manifests.py`

Of several folders, names inside the collection begin with the folder's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from index.ids import derived_ids, id_problems
from index.joining import PlacedManifest, find_manifests, join
from index.manifests import Row
from index.roots import Root, composed, find_roots, printable
from index.space.errors import BadInput, BadRows, shortened
from index.walking import Walk, is_excluded, is_system, walk

SPLITS = ("train", "test")
_NOTHING: dict[str, str] = {}  # shared by all works of which nothing is said; never written to


def _nothing() -> dict[str, str]:
    return _NOTHING


@dataclass(frozen=True, slots=True)
class Work:
    """One artwork of a collection; light, since a collection's are held together.

    Args:
        id: the manifest's own, else derived from the path inside the collection.
        root: the folder its picture is below.
        file: path below it, as the disk has it.
        label: its class, or None.
        split: "train", "test", or None where the collection is not split.
        metadata: the manifest's other columns (title, artist, date, ...), empty ones left out.
    """

    id: str
    root: Root
    file: str
    label: str | None
    split: str | None
    metadata: dict[str, str] = field(default_factory=_nothing)

    @property
    def path(self) -> Path:
        """Where its picture is."""
        return self.root.folder / self.file

    @property
    def name(self) -> str:
        """Path inside the collection, forward slashes; one that is not UTF-8 is escaped."""
        return self.root.name(self.file)


@dataclass(frozen=True)
class Collection:
    """The works of some folders, in order of their names, and what was left out.

    Args:
        roots: the folders.
        works: every file that is or claims to be a picture.
        left_out: number of files by reason.
        warnings: lines that the owner should read.
        unreadable: folders, and files, that could not be read, with the reason: their works are
            not known, and must not be taken for removed.
        without_file: the manifests' rows that no file was found for, "file:line: no picture path".
    """

    roots: list[Path]
    works: list[Work]
    left_out: dict[str, int]
    warnings: list[str]
    unreadable: list[str] = field(default_factory=list)
    without_file: list[str] = field(default_factory=list)


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Arguments of a command that reads a collection of some folders."""
    parser.add_argument(
        "collection", type=Path, nargs="+", help="folder of pictures, a folder a class; or several"
    )
    add_sources(parser)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that reads a collection."""
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="what is said of the works, instead of a manifest beside them; its paths are those "
        "inside the collection, or absolute",
    )
    parser.add_argument(
        "--follow-links",
        action="store_true",
        help="take in what links point to outside the collection",
    )


def read_collection(
    roots: Path | Sequence[Path],
    exclude: Sequence[str] = (),
    manifest: Path | None = None,
    follow_outside: bool = False,
) -> Collection:
    """List the works below folders.

    Args:
        exclude: shell patterns of paths inside the collection to leave out ("drafts/*").
        manifest: instead of the manifests in the folders.
        follow_outside: whether links may lead out of the folders.

    Raises:
        BadInput: no such folder, no pictures in one, two folders of one name or one in another,
            or a manifest that cannot be read.
        BadRows: rows of a manifest that cannot be used.
    """
    places = find_roots([roots] if isinstance(roots, Path) else roots)
    manifests = find_manifests(places, manifest)
    found = walk(places, exclude, follow_outside)
    _refuse_empty(places, found)
    joined = join(places, found.files, manifests, exclude)
    ids = list(derived_ids(found.files))
    owners = {
        id_: root.name(file)
        for (root, file), (id_, _), row in zip(found.files, ids, joined.rows, strict=True)
        if manifests and (row is None or "id" not in row.cells)
    }
    if problems := [*joined.problems, *id_problems(manifests, owners)]:
        raise BadRows([*problems, *joined.without_file])  # these too: repaired at once
    works = [
        _work(root, file, id_, row)
        for (root, file), (id_, _), row in zip(found.files, ids, joined.rows, strict=True)
    ]
    twins = [work.name for work, (_, is_twin) in zip(works, ids, strict=True) if is_twin]
    warnings = [
        *_of_walk(found),
        *_of_twins(twins),
        *_disagreements(works, manifests),
        *([] if found.unreadable else _empty_classes(places, works, exclude)),
        *_of_rows(manifests, joined.without_file),
    ]
    return Collection(
        [root.folder for root in places],
        works,
        dict(found.left_out),
        warnings,
        found.unreadable,
        joined.without_file,
    )


def _refuse_empty(roots: Sequence[Root], found: Walk) -> None:
    filled = {id(root) for root, _ in found.files}
    empty = [root.folder for root in roots if id(root) not in filled]
    if empty and found.unreadable:
        raise BadInput(
            f"{empty[0]} has no picture that user id {os.getuid()} can read: "
            f"{shortened(found.unreadable)}"
        )
    if empty:
        raise BadInput(
            f"{empty[0]} holds no pictures; give the folder that has them in or below it"
        )


def _work(root: Root, file: str, derived: str, row: Row | None) -> Work:
    cells = row.cells if row else {}
    split, folder = _split_and_class(file)
    label = cells.pop("class", "") or folder
    id_ = cells.pop("id", "") or derived
    return Work(id_, root, file, label and sys.intern(label), split, cells or _NOTHING)


def _split_and_class(file: str) -> tuple[str | None, str | None]:
    """What the folders of a path say."""
    first, *others = [composed(printable(folder)) for folder in file.split("/")[:3]]
    if first in SPLITS and others:
        return sys.intern(first), others[0] if len(others) > 1 else None
    return None, first if others else None


def _of_walk(found: Walk) -> Iterator[str]:
    if found.unreadable:
        yield f"could not be read: {len(found.unreadable)}: {shortened(found.unreadable)}"
    if found.broken:
        yield f"links that lead nowhere: {len(found.broken)}, the first {found.broken[0]}"
    if found.outside:
        yield (
            f"links that lead outside the collection: {len(found.outside)}, the first "
            f"{found.outside[0]}; --follow-links takes them in"
        )


def _of_twins(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield (
            f"names that differ only in how accents are written: {len(names)}, the first "
            f"{names[0]}; their ids are of the names as they are written"
        )


def _of_rows(manifests: Sequence[PlacedManifest], without_file: Sequence[str]) -> Iterator[str]:
    for manifest, _ in manifests:
        if manifest.without_path:
            yield f"not used: {manifest.without_path}"
        elif not manifest.rows:
            yield f"{manifest.path.name} has no rows"
    if without_file:
        yield f"rows without a file: {len(without_file)}: {shortened(without_file)}"


def _disagreements(works: Sequence[Work], manifests: Sequence[PlacedManifest]) -> Iterator[str]:
    """The manifest's class counts: it is the finer tool. Said, because it may be a slip."""
    found = [
        (work, folder)
        for work in works
        if (folder := _split_and_class(work.file)[1]) not in (None, work.label)
    ]
    if found:
        work, folder = found[0]
        name = manifests[0].manifest.path.name
        yield (
            f"{name} and folders disagree on the class of {len(found)} works, the first "
            f"{work.name}: {work.label}, folder {folder}; {name} counts"
        )


def _empty_classes(
    roots: Sequence[Root], works: Sequence[Work], exclude: Sequence[str]
) -> Iterator[str]:
    filled = {
        work.root.folder / folder for work in works for folder in PurePosixPath(work.file).parents
    }
    empty = [
        name
        for root in roots
        for place in _class_places(root, filled)
        for folder in sorted(place.iterdir())
        if folder.is_dir() and not folder.is_symlink()
        if not is_system(folder.name) and folder not in filled
        if not is_excluded(
            f"{(name := root.name(folder.relative_to(root.folder).as_posix()))}/", exclude
        )
    ]
    if empty:
        yield f"class folders without a picture: {len(empty)}, the first {empty[0]}"


def _class_places(root: Root, filled: set[Path]) -> list[Path]:
    """The folders whose folders are classes."""
    splits = [root.folder / split for split in SPLITS]
    is_split = any(split in filled for split in splits)
    return [split for split in splits if split.is_dir()] if is_split else [root.folder]
