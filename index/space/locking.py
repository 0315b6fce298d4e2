"""One process at a time at what must not be done twice at once.

The kernel drops the lock of a process that has died, however it died, so that none is ever stale;
the file stays and says who holds it, or held it last.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fasteners import InterProcessLock

from index.space.errors import BadInput, Refused

# POSIX locks are a process's: a second one of the same process would be granted, and closing any
# file of that path, also one opened to read who holds it, would drop the first.
# https://man7.org/linux/man-pages/man2/fcntl_locking.2.html
_own: set[Path] = set()
_guard = threading.Lock()


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file while the block runs.

    Args:
        path: the file, made where it is missing, with its folder.
        what: what is done under it, for messages: "training in runs/artkin".

    Raises:
        Refused: it is held, by another process or by this one; who and since when is said.
        BadInput: the file cannot be written or locked.
    """
    path = path.resolve()
    with _guard:
        if path in _own:
            raise _refused(what, "this process does")
        lock = _lock(path, what)
        _own.add(path)
    try:
        yield
    finally:
        with _guard:
            _own.remove(path)
            lock.release()


def _lock(path: Path, what: str) -> InterProcessLock:
    lock = InterProcessLock(path)
    try:
        if not lock.acquire(blocking=False):
            lock.lockfile.close()
            raise _refused(what, _holder(path))
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        lock.lockfile.truncate(0)
        lock.lockfile.write(json.dumps(holder) + "\n")
        lock.lockfile.flush()
    except (OSError, threading.ThreadError) as error:  # fasteners' own for what it cannot lock
        if lock.lockfile is not None:
            lock.lockfile.close()
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"{what} takes a lock, a file that can be written; received {path}: {reason}"
        ) from error
    return lock


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} does since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is being written just now
        return "another process does"


def _refused(what: str, who: str) -> Refused:
    return Refused(f"{what} is for one at a time, and {who}; wait until it has ended, or stop it")
