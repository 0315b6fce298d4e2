"""`artkin allow`: take the removal of works back.

artkin allow ID... --state state
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from index.changes import CHANGES, Changes
from index.progress import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin allow`."""
    parser.add_argument("ids", nargs="+", metavar="ID", help="of a work that was removed")
    parser.add_argument(
        "--state", type=Path, default=Path("state"), help="of the service (default: state)"
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin allow`."""
    with closing(Changes(options.state / CHANGES)) as changes:
        for id_ in options.ids:
            changes.allow(id_)
            say(f"allowed: {id_}; the next rebuild has it again if its picture is there")
