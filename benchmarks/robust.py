"""What benchmarks share: a service over a folder of releases, a command's peak, result files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.app.conftest import Service, start

RESULTS = Path("benchmarks/results")


@contextmanager
def service(model: Path, releases: Path, *others: object) -> Iterator[Service]:
    """A ready service with a state of its own, stopped at the end."""
    with tempfile.TemporaryDirectory() as state:
        started = start("--model", model, "--releases", releases, "--state", state, *others)
        try:
            started.wait_for("/readyz", 200)
            yield started
        finally:
            started.process.kill()
            started.process.wait()


def write(name: str, command: str, result: dict[str, Any]) -> None:
    """Write `results/<name>.json` with the command and the machine."""
    path = RESULTS / f"{name}.json"
    about = {"command": command, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    path.write_text(json.dumps(about | result, indent=2) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


def milliseconds(seconds: list[float]) -> dict[str, float | int]:
    """Median, 99th percentile and greatest of some times."""
    if not seconds:
        return {"count": 0}
    median, p99, most = np.quantile(seconds, [0.5, 0.99, 1]) * 1000
    return {
        "count": len(seconds),
        "p50": round(median, 1),
        "p99": round(p99, 1),
        "max": round(most, 1),
    }


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
        except OSError:
            continue
        found += map(int, children.split())
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process and its descendants hold, shared pages counted once each."""
    total = 0
    for process in family(pid):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += next(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )
    return total * 1024


def peak_of(command: list[str]) -> tuple[int, float]:
    """Bytes of RssAnon, looked at 20 times a second, and seconds."""
    begun, peak = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon"):
                peak = max(peak, 1024 * int(line.split()[1]))
        time.sleep(0.05)
    assert process.returncode == 0
    return peak, time.monotonic() - begun
