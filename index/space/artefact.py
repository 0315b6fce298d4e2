"""Folders that are either whole or not there: models and releases, each with a manifest of digests.

Written beside their final place, synced, renamed; `manifest.json` last. Read with every digest
checked, because neither FAISS nor a SavedModel notices a flipped byte.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from index.space.errors import ArtefactError, BadInput

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"  # of the manifest itself, as `sha256sum manifest.json` prints it


class Manifest(BaseModel):
    """What every manifest has. A reader takes its own `format` and no other.

    Args:
        format: version of the folder's layout.
        files: SHA-256 of each file, by its path inside the folder with forward slashes.
    """

    format: int
    files: dict[str, str]


M = TypeVar("M", bound=Manifest)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears at `target` whole when the block ends, or not at all.

    Yields:
        The folder to write to, beside `target`.

    Raises:
        BadInput: something is at `target` already, or no folder can be made there.
        OSError: the disk is full.
    """
    if os.path.lexists(target):  # a broken link too: it would stop the renaming, after the work
        raise BadInput(f"{target} must not exist yet; remove it or name another")
    refuse_file(target.parent, f"the parent of {target}")
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    _make(partial, target)
    try:
        yield partial
        _sync_tree(partial)
        partial.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A place beside `target` to write to; on leaving it is synced and appears under that name,
    replacing what was there. After an error, or a cut of the power, `target` is as it was."""
    partial = target.with_name(f".partial-{target.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)  # a full disk needs the room


def refuse_file(folder: Path, what: str) -> None:
    """Check that a folder, there or to be made, has no file in its place or above it.

    Args:
        what: it is, for the message: "--releases".

    Raises:
        BadInput: it has.
    """
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not os.path.isdir(place):
            kind = "a file" if os.path.exists(place) else "a broken link"
            subject = "which" if place == folder else f"and {place}"
            raise BadInput(
                f"{what} must be a folder; received {folder}, {subject} is {kind}; name another"
            )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder under construction, `files` computed here, and its seal."""
    files = {name: sha256_of(folder / name) for name in sorted(_files_below(folder))}
    text = manifest.model_copy(update={"files": files}).model_dump_json(indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    (folder / SEAL).write_bytes(_seal(folder))


def read_manifest(
    folder: Path, kind: type[M], what: str, make_again: str, verify_files: bool = True
) -> M:
    """Read and verify a folder's manifest, its seal, and the digest of every file it names.

    Args:
        kind: the manifest's class; its `format` default is the only one taken.
        what: the folder's kind, for messages ("model", "release").
        make_again: the command that makes such a folder, for messages.
        verify_files: whether the files are read; to list folders they need not be.

    Raises:
        ArtefactError: no manifest, another format, a missing or a changed file.
    """
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(
            f"{folder} is not a {what}: no readable {MANIFEST} in it; make one with `{make_again}`"
        ) from error
    except ValueError as error:
        raise ArtefactError(f"{folder / MANIFEST} is not JSON ({error}); `{make_again}`") from error
    expected = kind.model_fields["format"].default
    found = document.get("format") if isinstance(document, dict) else None
    if isinstance(found, int) and found > expected:
        raise ArtefactError(
            f"{folder} has manifest format {found}, of a newer artkin; this one reads format "
            f"{expected}: upgrade artkin, or make the {what} again with `{make_again}`"
        )
    if found != expected:
        raise ArtefactError(
            f"{folder} has manifest format {found!r}, this artkin reads format {expected}; "
            f"make the {what} again with `{make_again}`"
        )
    _verify_seal(folder, what)
    try:
        manifest = kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ArtefactError(f"{folder / MANIFEST}: {place}: {first['msg']}") from error
    if verify_files:
        _verify_files(folder, manifest, what)
    return manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries (names, renames) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(partial: Path, target: Path) -> None:
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise BadInput(
            f"{target} must be where a folder can be made; received {error.strerror} "
            f"({error.filename}); name another"
        ) from error


def _files_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path not in (folder / MANIFEST, folder / SEAL):
            yield path.relative_to(folder).as_posix()


def _seal(folder: Path) -> bytes:
    return f"{sha256_of(folder / MANIFEST)}  {MANIFEST}\n".encode()


def _verify_seal(folder: Path, what: str) -> None:
    path = folder / SEAL
    if not path.is_file() or path.read_bytes() != _seal(folder):
        raise ArtefactError(
            f"{path} must be the SHA-256 of {MANIFEST}, and is missing or another; restore the "
            f"{what} or make it again"
        )


def _verify_files(folder: Path, manifest: Manifest, what: str) -> None:
    for name, digest in manifest.files.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ArtefactError(f"{folder}: its manifest names {name!r}, outside the folder")
        if not path.is_file():
            raise ArtefactError(f"{folder}: the {what}'s file {name} is missing")
        if sha256_of(path) != digest:
            raise ArtefactError(
                f"{folder}: {name} is not the file that the manifest describes (its SHA-256 "
                f"differs); restore the {what} or make it again"
            )


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
