"""`artkin rebuild` killed, on full disks, over damaged files, of many works."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rebuild_kills import Place
from benchmarks.sizing import memory
from index import archive
from index.release import open_release
from index.releases import current_release
from index.space.artefact import sha256_of
from index.space.model import load_model
from tests.conftest import paint
from tests.index.rebuild_job import Job


def test_what_killed_runs_left_behind_is_cleared(job: Job) -> None:
    job.releases.mkdir()
    (job.releases / ".20260101T000000Z-0000.partial-7").mkdir()
    (job.releases / ".20260101T000000Z-0000.partial-7" / "index.faiss").touch()
    (job.releases / ".current-99").symlink_to("nowhere")
    assert job.run() == 0
    hidden = sorted(p.name for p in job.releases.iterdir() if p.name.startswith("."))
    assert hidden == [".lock"]


def test_a_damaged_store_is_said_and_embedded_again(job: Job, tiny_model: Path) -> None:
    job.releases.mkdir()
    name = f".embedded-{load_model(tiny_model).digest[:16]}-f32.sqlite"
    (job.releases / name).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert job.run() == 0, job.err
    assert "is damaged" in job.out
    assert job.report["embedded"] == 30


def test_a_damaged_release_gives_nothing(job: Job) -> None:
    assert job.run() == 0
    index = current_release(job.releases) / "index.faiss"
    data = bytearray(index.read_bytes())
    data[-100] ^= 1
    index.write_bytes(data)
    assert job.run() == 0, job.err
    assert "warning: nothing is taken from release" in job.out
    assert job.report["embedded"] == 30


def test_a_full_disk_at_any_write_serves_on_and_says_what_is_needed(
    job: Job, tmp_path: Path, small_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disks of every size: refused beforehand, and, where the system promised more than it has, at
    whichever write the room ends."""
    small = tmp_path / "small"
    job.releases = small / "releases"
    job.arguments[3] = str(job.releases)
    usage = shutil.disk_usage
    small_disk(small, "4m")
    assert job.run() == 0
    served = current_release(job.releases)
    used = usage(small).used
    for number in range(30):
        paint("cubism", 100 + number, (300, 200)).save(job.root / "cubism" / f"x{number}.png")
    small_disk(small, f"{used + 100_000}")
    assert job.run() == 2
    assert "the disk is full" in job.err
    assert re.search(r"takes about \d+ MB, \d+ MB are free", job.err)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage("/")._replace(free=1 << 40))
    codes = []
    for room in range(4096, 1 << 20, 28_672):
        small_disk(small, f"{usage(small).used + room}")
        codes.append(job.run())
        if codes[-1] == 0:
            break
        assert codes[-1] == 2, job.err
        assert job.err.count("\n") == 1
        assert "the disk is full" in job.err
        assert current_release(job.releases) == served
        open_release(served).close()
        assert not list(job.releases.glob(".*partial*"))
    assert codes[-1] == 0
    assert len(codes) > 5
    assert job.manifest["works"] == 60


def test_killed_at_writes_and_at_random_nothing_is_torn_lost_or_doubled(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The short version of `benchmarks.rebuild_kills`."""
    place = Place(tmp_path, tiny_model)
    for at in range(2, 32, 6):
        place.change()
        assert place.run(at)[0], f"no write {at}"
        assert not place.is_torn()
    assert place.at_random(3)["torn"] == 0
    left = place.left_alone()
    assert left["works"] == 24
    assert (left["lost"], left["doubled_or_stale"], left["other_vectors"]) == (0, 0, 0)
    assert left["left_behind"] == []


def test_memory_does_not_grow_with_the_works(tiny_model: Path) -> None:
    """The short version of `benchmarks.sizing`; without classes, as evaluation takes as
    much as the works of a sample."""
    few, many = (memory(tiny_model, works, classes=0)["peak_mib"] for works in (300, 1500))
    assert many < 1.1 * few


def test_a_file_that_changes_while_it_is_read_is_read_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each picture is written anew when it is decoded for the first time, by another program."""
    decode, seen = archive.decode, set()

    def changing(data: bytes, limits: object) -> object:
        for path in job.root.rglob("*.png"):
            if path not in seen and path.read_bytes() == data:
                seen.add(path)
                paint("cubism", 500 + len(seen)).save(path)
        return decode(data, limits)

    monkeypatch.setattr(archive, "decode", changing)
    assert job.run() == 0, job.err
    assert job.manifest["works"] == 30
    assert job.manifest["bad"] == []
    found = job.vectors()
    assert found.keys() == {sha256_of(path) for path in job.root.rglob("*.*")}
