"""Cores as a container's limit has them; files as the kernel's documentation writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from index.space import cores as counted
from index.space.cores import cores, quota


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "350000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)
def test_a_limit_of_time_is_cores(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert quota(tmp_path) == expected


def test_the_smaller_of_both_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = len(os.sched_getaffinity(0))
    monkeypatch.setattr(counted, "quota", lambda: None)
    assert cores() == allowed
    monkeypatch.setattr(counted, "quota", lambda: 1)
    assert cores() == 1
    monkeypatch.setattr(counted, "quota", lambda: allowed + 1)
    assert cores() == allowed
