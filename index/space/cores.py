"""How many cores this process may use.

Libraries count those of the machine. A container's limit of processor time is not among what they
see: with one thread a core of a large machine they would use it up at once, and then all wait.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use, one at least."""
    if sys.platform == "linux":
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def quota(cgroup: Path = _CGROUP) -> int | None:
    """Cores' worth of time that the control group grants, rounded up; None, no limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files and, for
    version 1, https://docs.kernel.org/scheduler/sched-bwc.html.
    """
    try:
        limit, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    if not limit.isdigit():  # "max", or -1
        return None
    return max(1, math.ceil(int(limit) / int(period)))
