"""`artkin key FILE`: a new key for the service, beside the one that it replaces.

A running service takes both until `--drop-old` (`keys.py`), so no caller is shut out meanwhile.
Of search keys, one a caller, a file may hold a thousand: `--search` adds one and touches no other.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from index.progress import say
from index.space.artefact import new_file
from index.space.errors import BadInput

# Its group may read it: in containers, programs with other user ids do.
_MODE = 0o440


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin key`."""
    parser.add_argument("file", type=Path, help="made where it is missing")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--drop-old", action="store_true", help="make none; leave only the newest of the file"
    )
    how.add_argument(
        "--search", action="store_true", help="add a caller's to a file of search keys"
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin key`."""
    before = _keys(options.file)
    if options.drop_old:
        if not before:
            raise BadInput(f"--drop-old needs a file with keys; received {options.file}")
        write_keys(options.file, before[:1])
        say(f"{options.file}: only its newest key is good now")
        return
    if len(before) > 1 and not options.search:
        raise BadInput(
            f"a key takes the place of one; {options.file} has {len(before)}: end the exchange "
            "before it with --drop-old, or add to a file of search keys with --search"
        )
    write_keys(options.file, [new_key(), *before])
    where = ""
    if before:
        others = ", beside the one before it until --drop-old"
        where = " in its first line, before those of others" if options.search else others
    say(f"{options.file} has a new key{where}; read it there")


def new_key() -> str:
    """256 bits of chance as text."""
    return secrets.token_urlsafe(32)


def write_keys(path: Path, keys: list[str]) -> None:
    """Write keys to a file, the newest first, one a line; readers see the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text("".join(f"{key}\n" for key in keys), encoding="ascii")
        partial.chmod(_MODE)


def _keys(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    except UnicodeError as error:
        raise BadInput(f"{path} must hold keys in ASCII, one a line; name another file") from error
