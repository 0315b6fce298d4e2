"""Where a collection lies, and how the names of its files are written."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from index.space.errors import BadInput


@dataclass(frozen=True, slots=True)
class Root:
    """One of a collection's folders.

    Args:
        folder: where it is.
        prefix: what names of its files begin with, "" or its own name and a slash.
    """

    folder: Path
    prefix: str = ""

    def name(self, file: str) -> str:
        """Name inside the collection of a path below it, such that it can be printed."""
        return printable(self.prefix + file)


def find_roots(folders: Sequence[Path]) -> list[Root]:
    """The folders with what names of their files begin with.

    Raises:
        BadInput: one that is none, two of one name, or one inside another.
    """
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(f"the collection must be a folder; received {folder}, which is not one")
    if len(folders) == 1:
        return [Root(folders[0])]
    named: dict[str, Path] = {}
    for folder in folders:
        _refuse_inside(folder, named.values())
        name = composed(os.path.basename(os.path.abspath(folder)))
        if name in named:
            raise BadInput(
                "folders of one collection must have names of their own, which the names of their "
                f"files begin with; received {named[name]} and {folder}"
            )
        named[name] = folder
    return [Root(folder, f"{name}/") for name, folder in named.items()]


def _refuse_inside(folder: Path, others: Iterable[Path]) -> None:
    for other in others:
        one, two = os.path.realpath(folder), os.path.realpath(other)
        if os.path.commonpath([one, two]) in (one, two):
            raise BadInput(
                f"no folder of a collection may be inside another; received {other} and {folder}"
            )


def composed(name: str) -> str:
    """A name as it is compared: accents composed, as one system writes them and another not."""
    return unicodedata.normalize("NFC", name)


def printable(name: str) -> str:
    """A name that is not UTF-8 on the disk, such that it can be printed and stored: caf\\xe9."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
