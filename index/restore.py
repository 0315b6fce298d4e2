"""`artkin restore`: a packed release and its model, to be served here.

artkin restore art.tar [--models models] [--releases releases]
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path, PurePosixPath

from index.changes import CHANGES, Changes, read_removed
from index.gate import GATES, gate_file, kept
from index.history import switch_to
from index.match import check_match
from index.pack import MODELS, RELEASES, REMOVED
from index.progress import say
from index.release import open_release
from index.releases import current_id, release_ids, writing
from index.space.artefact import new_file, new_folder, sync_folder
from index.space.errors import BadInput
from index.space.model import load_model
from index.takedown import take_down


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin restore`."""
    parser.add_argument("file", type=Path, help="that `artkin pack` wrote")
    parser.add_argument("--models", type=Path, default=Path("models"), help="where models are")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("state"),
        help="of the service: works taken down, here or before it was packed, are left out of "
        "this release and of all to come (default: state)",
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin restore`."""
    model, id_ = restore(options.file, options.models, options.releases, options.state)
    place = shlex.quote(str(options.releases))
    say(f"restored: release {id_} and model {model}")
    if current_id(options.releases) != id_:
        say(f"another release is published; publish this one with: artkin rollback {id_} "
            f"--releases {place}")  # fmt: skip
    say(f"serve it with: artkin serve --model {shlex.quote(str(model))} --releases {place}")


def restore(packed: Path, models: Path, releases: Path, state: Path) -> tuple[Path, str]:
    """Unpack a release and its model, verify both, leave out what was taken down here and there,
    and publish the release where none is.

    Returns:
        The model's folder and the release's id.

    Raises:
        BadInput: no such file, it is none that `pack` wrote, or the release is there already.
        ArtefactError: what is in it is damaged; nothing is kept.
        Refused: another job writes releases.
    """
    with (
        writing(releases),
        tempfile.TemporaryDirectory(prefix=".restore.partial-", dir=releases) as at,
    ):
        unpacked = Path(at)
        _unpack(packed, unpacked)
        model = load_model(_only(unpacked / MODELS, packed))
        folder = _only(unpacked / RELEASES, packed)
        release = open_release(folder, mapped=True)
        try:
            check_match(model, release)
        finally:
            release.close()
        if folder.name in release_ids(releases):
            raise BadInput(
                f"{releases} must not have the release yet; it has {folder.name}; remove it first, "
                "or restore elsewhere with --releases"
            )
        verdict = _verdict(unpacked, folder.name, packed)
        file = unpacked / REMOVED  # packs of before have none
        removed = read_removed(file.read_text("utf-8", "replace")) if file.is_file() else []
        target = models / model.version
        if target.exists():
            _refuse_another(target, model.digest)
        else:
            with new_folder(target) as made:  # `models` may be on another disk
                shutil.copytree(model.folder, made, dirs_exist_ok=True)
        if verdict is not None:
            judged = gate_file(releases, folder.name)
            judged.parent.mkdir(exist_ok=True)
            with new_file(judged) as partial:
                partial.write_bytes(verdict)
        if removed:
            with closing(Changes(state / CHANGES)) as changes:
                changes.take_over(removed)
        there = set(release_ids(releases))
        folder.rename(releases / folder.name)
        sync_folder(releases)
        take_down(releases, state)
        # Without the works removed since, it has another number behind its id.
        stem = folder.name.split("-")[:2]
        new = [one for one in release_ids(releases) if one not in there]
        restored = next((one for one in new if one.split("-")[:2] == stem), None)
        if restored is None:
            raise BadInput(f"all works of {folder.name} were removed; nothing is left to restore")
        if current_id(releases) is None:
            switch_to(releases, restored, restored=True)
    return target, restored


def _unpack(packed: Path, folder: Path) -> None:
    try:
        with tarfile.open(packed, "r:") as file:
            for member in file:
                _extract(file, member, folder)
    except FileNotFoundError as error:
        raise BadInput(f"the file to restore must exist; received {packed}") from error
    except (tarfile.TarError, EOFError) as error:
        raise BadInput(
            f"the file to restore must be one that `artkin pack` wrote; received {packed}: {error}"
        ) from error


def _extract(file: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a file's content below a folder and nothing else of it: `extractall` takes a filter
    only from Python 3.11.4 on."""
    if member.isdir():
        return
    name = PurePosixPath(member.name)
    if not member.isfile() or name.is_absolute() or ".." in name.parts:
        raise tarfile.TarError(f"{member.name!r} is no file below the folder it is restored to")
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.extractfile(member) as source, target.open("xb") as copy:  # type: ignore[union-attr]
        shutil.copyfileobj(source, copy)


def _only(folder: Path, packed: Path) -> Path:
    found = list(folder.iterdir()) if folder.is_dir() else []
    if len(found) != 1:
        raise BadInput(
            f"the file to restore must hold one model and one release, as `artkin pack` writes it; "
            f"received {packed} with {len(found)} in {folder.name}/"
        )
    return found[0]


def _verdict(unpacked: Path, id_: str, packed: Path) -> bytes | None:
    """What the gate said of the release before it was packed; None, it was never judged."""
    path = gate_file(unpacked, id_)
    if path.is_file() and kept(unpacked, id_) is None:
        raise BadInput(
            "the file to restore must hold the gate's verdict as `artkin pack` writes it; received "
            f"{packed}, whose {GATES}/{path.name} is none"
        )
    return path.read_bytes() if path.is_file() else None


def _refuse_another(target: Path, digest: str) -> None:
    if load_model(target).digest != digest:
        raise BadInput(
            f"{target} must be the model of the packed release, and is another of its name; "
            "restore elsewhere with --models"
        )
