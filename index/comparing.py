"""`artkin compare`: what would change for people if another release, or model, were served.

    artkin compare OLD NEW --releases releases [--to compare.html] [--k 5] [--json]

How many of the nearest works stayed and which release is better by class, the figure that the gate
judges by; and a page of the works whose neighbours changed most.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from index.before_after import render, rows, sentences
from index.neighbours import Result, compare_neighbours
from index.progress import console, on_stderr, say
from index.release import Release, open_release
from index.releases import choose_release
from index.space.artefact import new_file
from index.space.errors import BadInput

MOST_K = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin compare`."""
    parser.add_argument("old", help="the release that is served, or any other")
    parser.add_argument("new", help="the release that is to take its place")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument(
        "--to",
        type=Path,
        default=Path("compare.html"),
        metavar="FILE",
        help="the page of before and after (default: compare.html)",
    )
    parser.add_argument(
        "--k", type=int, default=5, help=f"neighbours that count, 1 to {MOST_K} (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def main(options: argparse.Namespace) -> None:
    """Run `artkin compare`."""
    _check(options)
    with ExitStack() as opened:
        if options.json:
            opened.enter_context(on_stderr())
        old, new = (_open(options.releases, id_, opened) for id_ in (options.old, options.new))
        result = compare_neighbours(old, new, options.k)
        with new_file(options.to) as partial:
            partial.write_text(render(result, old, new), encoding="utf-8", errors="replace")
        if not options.json:
            _show(result)
        say(f"before and after, with pictures: {options.to}")
    if options.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))


def _check(options: argparse.Namespace) -> None:
    if not 1 <= options.k <= MOST_K:
        raise BadInput(f"k must be from 1 to {MOST_K}; received {options.k}")
    old, new = (choose_release(options.releases, id_) for id_ in (options.old, options.new))
    if old == new:
        raise BadInput(
            f"two releases must be named; received {old} twice; `artkin releases` lists them"
        )
    if options.to.is_dir() or not options.to.parent.is_dir():
        raise BadInput(f"--to must be a file in a folder that exists; received {options.to}")


def _open(releases: Path, id_: str, opened: ExitStack) -> Release:
    release = open_release(releases / id_, mapped=True)
    opened.callback(release.close)
    return release


def _show(result: Result) -> None:
    table = Table("", "before", "after")
    for row in rows(result):
        table.add_row(*row)
    console.print(table)
    for line in sentences(result):
        say(line)
