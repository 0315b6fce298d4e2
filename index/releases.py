"""A folder of releases: which there are, which is published, who may write.

releases/<id>/                  `release.py`
releases/current -> <id>        a relative link, replaced in one step
releases/gates/<id>.json        what the gate said of it (`gate.py`)
releases/history.jsonl          every switch (`publish.py`)
releases/rebuilt.json           what came of the last rebuild (`rebuilt.py`)
releases/.embedded-*.sqlite     what a running or stopped job has embedded (`known.py`)
releases/.lock                  held while releases are written or removed
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from index.space.artefact import MANIFEST, refuse_file, sync_folder
from index.space.errors import ArtefactError, BadInput
from index.space.locking import exclusive

CURRENT = "current"
# With "-1": the same without the works that were taken down.
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}(-\d+)?")
_STAMP = "%Y%m%dT%H%M%SZ"
_LEFT_BEHIND = (".*.partial-*", ".partial-*", f".{CURRENT}-*")


def current_release(releases: Path) -> Path:
    """The folder of the published release.

    Raises:
        BadInput: `releases` is a file.
        ArtefactError: nothing is published, or what is published is gone.
    """
    refuse_file(releases, "--releases")
    link = releases / CURRENT
    if not link.is_symlink():
        raise ArtefactError(
            f"nothing is published in {releases}; run `artkin publish --releases "
            f"{shlex.quote(str(releases))}`"
        )
    folder = releases / os.readlink(link)
    if not folder.is_dir():
        raise ArtefactError(
            f"{link} points to {folder.name}, which is gone; restore it or run "
            f"`artkin publish --releases {shlex.quote(str(releases))}`"
        )
    return folder


def current_id(releases: Path) -> str | None:
    """Id of the published release, whether it can be served or not; None, nothing is published."""
    link = releases / CURRENT
    return os.readlink(link) if link.is_symlink() else None


@contextmanager
def writing(releases: Path) -> Iterator[None]:
    """Be the only one who writes or removes releases; what killed ones left behind is removed.

    Raises:
        Refused: another job does; who and since when is said.
        BadInput: the folder cannot be written.
    """
    refuse_file(releases, "--releases")
    with exclusive(releases / ".lock", f"writing releases in {releases}"):
        for pattern in _LEFT_BEHIND:
            for path in releases.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        yield


def release_ids(releases: Path) -> list[str]:
    """Ids of the releases in a folder, oldest first; unfinished ones are not among them.

    Raises:
        BadInput: `releases` is a file.
    """
    refuse_file(releases, "--releases")
    if not releases.is_dir():
        return []
    return sorted(path.name for path in releases.iterdir() if _ID.fullmatch(path.name))


def choose_release(releases: Path, id_: str | None) -> str:
    """The id of a release that exists: the one named, or the newest.

    Raises:
        BadInput: no such release, none at all, or `releases` is a file.
    """
    ids = release_ids(releases)
    if not ids:
        raise BadInput(
            f"{releases} holds no release; make one with "
            f"`artkin index COLLECTION --model MODEL --releases {shlex.quote(str(releases))}`"
        )
    if id_ is None:
        return ids[-1]
    if id_ not in ids:
        raise BadInput(f"the release must be one of {', '.join(ids)}; received {id_!r}")
    return id_


def new_release_id(releases: Path) -> str:
    """An id that sorts by time, 20261125T031500Z-3fa9, and after all that are there: a clock that
    was set back makes no new release an old one."""
    now = datetime.now(UTC)
    ids = release_ids(releases)
    if ids:
        newest = datetime.strptime(ids[-1][:16], _STAMP).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return f"{now.strftime(_STAMP)}-{secrets.token_hex(2)}"


def remove_release(folder: Path) -> None:
    """Remove a release; killed meanwhile, none is left, and `writing` clears up after it."""
    going = folder.with_name(f".{folder.name}.partial-removed")
    folder.rename(going)
    shutil.rmtree(going)


def switch(releases: Path, id_: str) -> None:
    """Publish a release: `current` points to the old one or to this one, never to neither."""
    link = releases / f".{CURRENT}-{os.getpid()}"
    link.unlink(missing_ok=True)  # left by a killed process that had our number
    link.symlink_to(id_, target_is_directory=True)
    try:
        link.replace(releases / CURRENT)
    except OSError:
        link.unlink()
        raise
    sync_folder(releases)


def is_held(folder: Path) -> bool:
    """Whether a process, a running service for one, has the release open."""
    try:
        manifest = os.open(folder / MANIFEST, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(manifest)
    return False
