"""`artkin pack`: a release, its model, the gate's verdict and what was taken down as one file, for
another machine.

artkin pack [ID] --model models/art-1 --releases releases --state state --to art.tar
"""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path

from index.changes import CHANGES, lines_of_removed, read_changes
from index.gate import GATES, gate_file
from index.match import check_match, model_for
from index.progress import say
from index.release import open_release
from index.releases import choose_release, current_id
from index.space.artefact import new_file
from index.space.errors import BadInput
from index.space.model import load_model

MODELS, RELEASES = "models", "releases"  # folders in the file
REMOVED = "removed.jsonl"  # in the file: works taken down, one a line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin pack`."""
    parser.add_argument("id", nargs="?", help="the release; without it, the published")
    parser.add_argument("--model", type=Path, required=True, help="folder of its model")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("state"),
        help="of the service: what was taken down goes with it (default: state)",
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="to be written")


def main(options: argparse.Namespace) -> None:
    """Run `artkin pack`."""
    id_ = choose_release(options.releases, options.id or current_id(options.releases))
    pack(options.releases / id_, options.model, options.state, options.to)
    size = options.to.stat().st_size / 1e6
    say(f"packed: release {id_} in {options.to}, {size:.1f} MB; unpack it with: artkin restore")


def pack(release_folder: Path, model_folder: Path, state: Path, target: Path) -> None:
    """Write a release and its model, both verified, the gate's verdict, where it was judged, and
    which works were taken down, as a tar file: a rebuild of where it is restored must leave them
    out, too. It is not compressed: thumbnails and weights hardly get smaller.

    Raises:
        BadInput: the file is there already.
        ArtefactError: one is damaged, or they do not belong together.
        OSError: the disk is full.
    """
    if target.exists():
        raise BadInput(f"--to must not exist yet; received {target}; remove it or name another")
    release = open_release(release_folder, mapped=True)
    try:
        model = load_model(model_for(model_folder, release.manifest))
        check_match(model, release)
        with new_file(target) as partial, tarfile.open(partial, "w") as file:
            # By the names that a service looks for, whatever the folders are called here.
            file.add(model.folder, f"{MODELS}/{model.version}", filter=_nobodys)
            file.add(release_folder, f"{RELEASES}/{release.id}", filter=_nobodys)
            if (verdict := gate_file(release_folder.parent, release.id)).is_file():
                file.add(verdict, f"{GATES}/{verdict.name}", filter=_nobodys)
            removed = lines_of_removed(read_changes(state / CHANGES)).encode()
            entry = tarfile.TarInfo(REMOVED)
            entry.size = len(removed)
            file.addfile(entry, io.BytesIO(removed))
    finally:
        release.close()


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without who owned it here."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
