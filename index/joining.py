"""Manifests' rows to the files they are of, and everything in which the two do not agree."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from index.manifests import Manifest, Row, read_manifest
from index.roots import Root, composed
from index.space.errors import BadInput, BadRows
from index.walking import MANIFESTS, is_excluded


class PlacedManifest(NamedTuple):
    """A manifest, and what the paths in it begin with: the prefix of the root it lies in, or ""."""

    manifest: Manifest
    prefix: str = ""


class Joined(NamedTuple):
    """What manifests say of files.

    Args:
        rows: of each file, or None.
        problems: "file:line: what", that no work can be made of.
        without_file: "file:line: no picture path", rows that no file was found for and that can
            be passed over.
    """

    rows: list[Row | None]
    problems: list[str]
    without_file: list[str]


def find_manifests(roots: Sequence[Root], manifest: Path | None) -> list[PlacedManifest]:
    """The manifest given, else those that lie in the roots.

    Raises:
        BadInput: it cannot be read, or a root has two.
        BadRows: the one given has no column `path`; one that lies there may be another program's.
    """
    if manifest is not None:
        given = read_manifest(manifest)
        if given.without_path:
            raise BadRows([given.without_path])
        return [PlacedManifest(given)]
    manifests = []
    for root in roots:
        # A link to a file that is gone is no reason to lose all ids and titles.
        there = [root.folder / name for name in MANIFESTS if os.path.lexists(root.folder / name)]
        if len(there) > 1:
            raise BadInput(
                f"{root.folder} must have one manifest; it has "
                f"{', '.join(path.name for path in there)}; remove one, or name one by --manifest"
            )
        manifests += [PlacedManifest(read_manifest(path), root.prefix) for path in there]
    return manifests


def join(
    roots: Sequence[Root],
    files: Sequence[tuple[Root, str]],
    manifests: Sequence[PlacedManifest],
    exclude: Sequence[str] = (),
) -> Joined:
    """Find every row's file: by the path as it stands there, else with accents composed, blanks
    around it stripped, or `\\` for `/`.

    Args:
        exclude: patterns of the files that were left out on purpose.
    """
    found = Joined([None] * len(files), [], [])
    places = _places(files) if manifests else {}
    owners: dict[int, str] = {}
    for manifest, prefix in manifests:
        found.problems.extend(manifest.problems)
        lost: list[str] = []
        for row in manifest.rows:
            name = _inside(row.path, roots, prefix)
            at = next((places[key] for key in _spellings(name) if key in places), None)
            place = manifest.place(row.line)
            if at is None and not is_excluded(posixpath.normpath(name), exclude):
                lost.append(f"{place}: no picture {row.path!r}{_left_out(roots, name)}")
            elif at is not None and at in owners:
                found.problems.append(
                    f"{place}: a file has one row; {row.path!r} has that of {owners[at]} already"
                )
            elif at is not None:
                owners[at] = place
                found.rows[at] = row
        if 2 * len(lost) > len(manifest.rows):
            found.problems.extend([_mostly_lost(manifest, len(lost)), *lost])
        else:
            found.without_file.extend(lost)
    return found


def _places(files: Sequence[tuple[Root, str]]) -> dict[str, int]:
    names = [root.name(file) for root, file in files]
    places = {name: at for at, name in enumerate(names)}
    for at, name in enumerate(names):
        places.setdefault(composed(name), at)
    return places


def _inside(path: str, roots: Sequence[Root], prefix: str) -> str:
    """The name inside the collection that a manifest's path means."""
    if not path.startswith("/"):
        return prefix + path
    for root in roots:
        for folder in (os.path.abspath(root.folder), os.path.realpath(root.folder)):
            if path.startswith(os.path.join(folder, "")):
                return root.prefix + path[len(folder) :].lstrip("/")
    return path


def _spellings(name: str) -> Iterator[str]:
    for written in (name, name.strip(), name.strip().replace("\\", "/")):
        plain = posixpath.normpath(written)
        yield plain
        yield composed(plain)


def _left_out(roots: Sequence[Root], name: str) -> str:
    """A file that is there and yet no work needs another remedy than one that is not."""
    is_there = any(
        name.startswith(root.prefix) and os.path.lexists(root.folder / name[len(root.prefix) :])
        for root in roots
    )
    return ", which is there but left out" if is_there else ""


def _mostly_lost(manifest: Manifest, lost: int) -> str:
    return (
        f"{manifest.path}: half of the rows at least must have a file; {lost} of "
        f"{len(manifest.rows)} have none; give the folder that the paths begin in, and see that "
        "its disk is there"
    )
