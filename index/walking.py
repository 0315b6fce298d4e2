"""Folders to picture files: what is listed, what is left out and why, what could not be read.

Whether a file is a picture is told by its content; a file that only its name calls a picture is
listed too, so that decoding can say what is wrong with it. Hidden and system files are left out
and counted. A link is followed once, and only to what lies in the collection itself; of two paths
to one file the first in order counts. Order: a folder's files before its folders, each by name.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from index.roots import Root, composed, printable
from index.space.picture_limits import sniff

MANIFESTS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "@eadir", "__macosx"}
_PICTURE_ENDINGS = {
    *(".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".jp2"),
    *(".avif", ".heic", ".heif"),
}
_BROKEN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass
class Walk:
    """What was found below a collection's folders.

    Args:
        files: root and path below it of every picture, as the disk has it.
        left_out: number of files, and of folders that could not be looked into, by reason.
        unreadable: folders and files that could not be read, or were gone when they were to be,
            with the reason: what is in them is not known.
        outside: names of links that lead out of the collection.
        broken: names of links that lead nowhere.
    """

    files: list[tuple[Root, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def walk(roots: Sequence[Root], exclude: Sequence[str] = (), follow_outside: bool = False) -> Walk:
    """List the pictures below folders, none of which lies in another.

    Args:
        exclude: shell patterns of names to leave out.
        follow_outside: whether links may lead out of the folders.
    """
    found = Walk()
    walker = _Walker(roots, exclude, follow_outside, found)
    for root in roots:
        found.files.extend((root, file) for file in walker.pictures(root))
    return found


def is_system(name: str) -> bool:
    """Whether a file or folder of that name is the system's or hidden."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_excluded(name: str, exclude: Sequence[str]) -> bool:
    """Whether a name inside the collection fits one of the patterns."""
    name = composed(printable(name))
    return any(fnmatchcase(name, composed(printable(pattern))) for pattern in exclude)


class _Walker:
    def __init__(
        self, roots: Sequence[Root], exclude: Sequence[str], follow_outside: bool, found: Walk
    ) -> None:
        folders = ["/"] if follow_outside else [os.path.realpath(root.folder) for root in roots]
        self._inside = tuple(os.path.join(folder, "") for folder in folders)
        self._exclude = exclude
        self._found = found
        self._seen: set[str] = set()

    def pictures(self, root: Root) -> Iterator[str]:
        """Paths below a root; by a stack, since folders may be deeper than calls can be."""
        waiting = [("", os.path.realpath(root.folder))]
        while waiting:
            below, real_folder = waiting.pop()
            if real_folder in self._seen:
                continue
            self._seen.add(real_folder)
            folders: list[tuple[str, str]] = []
            for entry in self._entries(root, below):
                if not below and entry.name in MANIFESTS:
                    continue
                file, real = below + entry.name, os.path.join(real_folder, entry.name)
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                kind, reason = self._judge(root.prefix + file, entry, real)
                if reason is not None:
                    self._found.left_out.update([reason] if reason else [])
                elif kind == "folder":
                    folders.append((file + "/", real))
                else:
                    yield file
            waiting.extend(reversed(folders))

    def _entries(self, root: Root, below: str) -> list[os.DirEntry[str]]:
        folder = os.path.join(root.folder, below)
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
            if entries and not os.access(folder, os.X_OK):  # names, and no way to their files
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            reason = self._unreadable(root.prefix + below, folder, error)
            self._found.left_out[reason] += 1
            return []
        return sorted(entries, key=lambda entry: (composed(entry.name), entry.name))

    def _unreadable(self, name: str, path: str, error: OSError) -> str:
        """The reason to count it by."""
        if is_excluded(name, self._exclude):
            return "excluded"
        self._found.unreadable.append(f"{printable(path)}: {error.strerror}")
        return "unreadable"

    def _judge(self, name: str, entry: os.DirEntry[str], real: str) -> tuple[str, str | None]:
        """What it is, and why it is left out: None, it is not; "", that need not be counted."""
        try:
            kind = _kind(entry)
            return kind, self._why_left_out(name, entry, real, kind)
        except OSError as error:
            return "", self._unreadable(name, entry.path, error)

    def _why_left_out(self, name: str, entry: os.DirEntry[str], real: str, kind: str) -> str | None:
        if is_system(entry.name):
            return "" if kind == "folder" else "hidden or system file"
        if kind != "folder" and is_excluded(name, self._exclude):
            return "excluded"
        if kind == "broken":
            self._found.broken.append(printable(name))
            return "broken link"
        if entry.is_symlink() and not f"{real}/".startswith(self._inside):
            if is_excluded(name + "/", self._exclude):
                return "excluded"
            self._found.outside.append(printable(name))
            return "link that leads outside the collection"
        return None if kind == "folder" else self._why_no_picture(entry, real, kind)

    def _why_no_picture(self, entry: os.DirEntry[str], real: str, kind: str) -> str | None:
        if kind == "other":
            return "pipe, socket or device"
        if real in self._seen:
            return "second path to one file"
        self._seen.add(real)
        if os.path.splitext(entry.name)[1].lower() in _PICTURE_ENDINGS:
            return None
        return None if _has_signature(entry.path) else f"not a picture ({_ending(entry.name)})"


def _kind(entry: os.DirEntry[str]) -> str:
    """Whether it is a "folder", "file", "other", or "broken", a link that leads nowhere.

    Raises:
        OSError: it cannot be told, or what was listed is gone.
    """
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()
    except OSError as error:
        if entry.is_symlink() and error.errno in _BROKEN:
            return "broken"
        raise
    return "other"


def _ending(name: str) -> str:
    """For counting, so only what looks like one: not the rest of "letter of 3. May, to Mr. X"."""
    ending = os.path.splitext(name)[1].lower()
    return ending if len(ending) <= 9 and ending[1:].isalnum() else "no usual ending"


def _has_signature(path: str) -> bool:
    with open(path, "rb") as file:
        return sniff(file.read(32)) is not None
