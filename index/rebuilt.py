"""What came of the last `artkin rebuild` of a folder of releases, for whoever watches over it.

A rebuild that finds nothing to do makes no release, so the age of what is served tells nothing of
whether rebuilds run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from index.progress import say
from index.space.artefact import new_file

REBUILT = "rebuilt.json"  # beside the releases


@dataclass(frozen=True)
class Rebuilt:
    """Of the rebuilds that came to an end by themselves.

    Args:
        ended: when the last one did.
        succeeded: when the last one did that published or had nothing to do; None, none has.
        error: why the last one failed, or was refused; None, it succeeded.
    """

    ended: datetime
    succeeded: datetime | None
    error: str | None


def last_rebuilt(releases: Path) -> Rebuilt | None:
    """What is on record; None where no rebuild has ended, or the record cannot be read."""
    try:
        said = json.loads((releases / REBUILT).read_text(encoding="utf-8"))
        succeeded = said["succeeded"] and datetime.fromisoformat(said["succeeded"])
        return Rebuilt(datetime.fromisoformat(said["ended"]), succeeded, said["error"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def on_record(releases: Path) -> Iterator[None]:
    """Put what comes of the block on record; one that is interrupted comes to nothing."""
    try:
        yield
    except Exception as error:
        _write(releases, str(error) or repr(error))
        raise
    _write(releases, None)


def note_failed(releases: Path, error: Exception) -> None:
    """Put on record that a rebuild could not even begin; not in a folder that is not there."""
    if releases.is_dir():
        _write(releases, str(error))


def _write(releases: Path, error: str | None) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    before = last_rebuilt(releases)
    succeeded = now if error is None else before.succeeded if before else None
    line = asdict(Rebuilt(now, succeeded, error))
    try:
        with new_file(releases / REBUILT) as partial:
            partial.write_text(json.dumps(line, default=datetime.isoformat) + "\n", "utf-8")
    except OSError as fault:  # a full disk, which is no reason to hide what came of the rebuild
        say(f"warning: {releases / REBUILT} cannot be written: {fault.strerror}")
