"""How benchmarks are called: `--help` is their docstring, nonsense one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from index.space.errors import ArtkinError


class Command(argparse.ArgumentParser):
    """Arguments of one benchmark.

    Args:
        doc: the benchmark's docstring.
    """

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """See argparse; without the usage before it."""
        self.exit(2, f"{self.prog}: error: {message}; --help says more\n")


def run(main: Callable[[], None]) -> None:
    """A benchmark's `main`, bad input and Ctrl-C said in one line."""
    try:
        main()
    except ArtkinError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def folder(text: str) -> Path:
    """A folder that is there."""
    return _there(text, Path.is_dir, Path(text), "a folder")


def file(text: str) -> Path:
    """A file that is there."""
    return _there(text, Path.is_file, Path(text), "a file")


def model(text: str) -> Path:
    """A model's folder."""
    return _there(text, Path.is_file, Path(text) / "manifest.json", "a model's folder")


def releases(text: str) -> Path:
    """A folder of releases, one of them published."""
    return _there(text, Path.is_dir, Path(text) / "current", "a folder with a published release")


def count(text: str) -> int:
    """How often; once at least."""
    return int(_above_zero(int(text)))


def minutes(text: str) -> float:
    """How long."""
    return _above_zero(float(text))


def _there(text: str, is_one: Callable[[Path], bool], path: Path, what: str) -> Path:
    if not is_one(path):
        raise argparse.ArgumentTypeError(f"must be {what}; received {text!r}")
    return Path(text)


def _above_zero(number: float) -> float:
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0; received {number:g}")
    return number
