"""What was served when: every switch of a folder of releases, by whom and why."""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index.progress import say
from index.releases import current_id, switch

HISTORY = "history.jsonl"  # beside the releases


def switch_to(releases: Path, id_: str, **why: Any) -> None:
    """Switch, and put it on record."""
    before = current_id(releases)
    switch(releases, id_)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": id_,
        "before": before,
        "by": _user(),
        **why,
    }
    with (releases / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def history(releases: Path) -> list[dict[str, Any]]:
    """Every switch on record, oldest first; a line cut by a failing disk is left out."""
    path = releases / HISTORY
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                say(f"warning: {path} has a line that is no record, and is left out")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return str(os.getuid())
