"""One at a time: other processes and other threads are refused, the dead hold nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.space.errors import BadInput, Refused
from index.space.locking import exclusive

HOLD = """
import sys, time
from pathlib import Path
from index.space.locking import exclusive
with exclusive(Path(sys.argv[1]), "the test"):
    print("held", flush=True)
    time.sleep(20)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_is_refused_and_told_who_and_since_when(tmp_path: Path) -> None:
    path = tmp_path / "runs" / ".lock"  # its folder is made
    with hold(path) as process:
        try:
            holder = json.loads(path.read_text())
            assert (holder["pid"], holder["host"]) == (process.pid, socket.gethostname())
            age = datetime.now(UTC) - datetime.fromisoformat(holder["since"])
            assert 0 <= age.total_seconds() < 60
            with pytest.raises(Refused) as refused, exclusive(path, "training in runs"):
                pytest.fail("two at once")
            said = str(refused.value)
            assert said.startswith("training in runs is for one at a time, and process ")
            assert f"process {process.pid} on {holder['host']} does since {holder['since']}" in said
            assert "\n" not in said
        finally:
            process.kill()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with hold(path) as process:
        process.send_signal(signal.SIGKILL)
    with exclusive(path, "the test"):
        assert json.loads(path.read_text())["pid"] != process.pid


def test_this_process_cannot_hold_it_twice_and_keeps_it_when_it_tries(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with exclusive(path, "the test"):
        for _ in range(2):
            with (
                pytest.raises(Refused, match="this process does"),
                exclusive(tmp_path / "." / ".lock", "the test"),
            ):
                pytest.fail("two at once")
        run = subprocess.run(
            [sys.executable, "-c", HOLD, str(path)], capture_output=True, text=True, check=False
        )
        assert "Refused: the test is for one at a time" in run.stderr


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(ZeroDivisionError), exclusive(path, "the test"):
        raise ZeroDivisionError
    with exclusive(path, "the test"), exclusive(tmp_path / "other", "the test"):
        pass


def test_a_holder_that_has_not_written_its_name_yet_is_another_process(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with hold(path) as process:
        try:
            path.write_text("")
            with (
                pytest.raises(Refused, match="and another process does"),
                exclusive(path, "the test"),
            ):
                pytest.fail("two at once")
        finally:
            process.kill()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / ".lock"):
        with (
            pytest.raises(BadInput, match=f"the test takes a lock.*{path}"),
            exclusive(path, "the test"),
        ):
            pytest.fail("no lock")
