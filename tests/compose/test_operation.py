"""An operator's days: rebuilds under load, kills, full disks, backups, keys, takedowns."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bad_pictures import accepted, rejected
from tests.compose.conftest import image
from tests.compose.project import SAMPLE, Project, change_manifest, docker
from tests.compose.test_start import PICTURE, shell

pytestmark = [pytest.mark.slow, pytest.mark.compose]
Another = Callable[..., Project]
Record = Callable[..., None]


@contextmanager
def asking(project: Project) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Two callers that search without a pause, each on a connection of its own."""
    answers: list[tuple[int, dict[str, Any]]] = []
    stop = threading.Event()
    picture = PICTURE.read_bytes()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.is_set():
                answer = client.post(f"{project.url}/v1/search", files={"image": picture})
                answers.append((answer.status_code, answer.json()))

    with ThreadPoolExecutor(2) as callers:
        running = [callers.submit(ask) for _ in range(2)]
        try:
            yield answers
        finally:
            stop.set()
        for one in running:
            one.result()


def wait_for(project: Project, until: Callable[[], bool]) -> None:
    for _ in range(600):
        if until():
            return
        time.sleep(0.1)
    pytest.fail(project.logs("serve"))


def collection(folder: Path, pictures: int) -> Path:
    """Some of the sample's pictures, in their folders, for another user id to read."""
    for picture in sorted(SAMPLE.glob("train/*/*.jpg"))[:pictures]:
        place = folder / "own" / picture.parent.name / picture.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
    folder.chmod(0o755)
    return folder / "own"


def test_an_evaluation_over_http(project: Project) -> None:
    job = project.admin("POST", "/v1/admin/evaluations").json()
    place = f"/v1/admin/evaluations/{job['id']}"
    wait_for(project, lambda: project.admin("GET", place).json()["status"] in ("done", "failed"))
    found = project.admin("GET", place).json()
    assert found["status"] == "done", found
    told = docker(
        *("run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"),
        *("-v", f"{project.name}_models:/artkin/models:ro"),
        *("-v", f"{project.name}_releases:/artkin/releases:ro", image("job")),
        *("evaluate", "--model", "models/art-1", "--json"),
    )
    assert found["result"] == json.loads(told)


def test_a_rebuild_under_load_fails_no_request_and_mixes_no_answer(
    another: Another, tmp_path: Path, record: Record
) -> None:
    own = collection(tmp_path, 40)
    one = another("models", COLLECTION=own)
    one.up()
    before = one.search(PICTURE, k=100)
    with asking(one) as answers:
        wait_for(one, lambda: len(answers) > 20)
        shutil.copy(PICTURE, next(own.iterdir()))
        rebuilt = one.compose("run", "--rm", "rebuild")
        assert rebuilt.returncode == 0, rebuilt.stdout
        asked = len(answers)
        wait_for(one, lambda: answers[-1][1].get("index_version") != before["index_version"])
        wait_for(one, lambda: len(answers) > asked + 20)
    after = one.search(PICTURE, k=100)
    assert len(after["results"]) == len(before["results"]) + 1
    failed = [answer for status, answer in answers if status != 200]
    versions = [answer["index_version"] for status, answer in answers if status == 200]
    expected = {one["index_version"]: one["results"][:5] for one in (before, after)}
    mixed = [a for s, a in answers if s == 200 and a["results"] != expected[a["index_version"]]]
    backward = sum(
        versions[i] == after["index_version"] and versions[i + 1] == before["index_version"]
        for i in range(len(versions) - 1)
    )
    record(
        rebuild_under_load={
            "requests": len(answers),
            "failed": len(failed),
            "mixed": len(mixed),
        }
    )
    assert set(versions) == set(expected)
    assert not failed
    assert not mixed
    assert backward <= 1  # two callers' answers stand in one list, in the order of their ends
    again = one.compose("run", "--rm", "rebuild")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout


def test_killed_it_is_back(project: Project, record: Record) -> None:
    before = project.search(PICTURE)
    seconds = []
    for _ in range(5):
        project.wait()
        time.sleep(10)  # the engine waits longer after each restart, unless it ran for ten seconds
        killed = project.state()["Pid"]
        os.kill(killed, signal.SIGKILL)
        begun = time.monotonic()
        wait_for(project, lambda killed=killed: project.state()["Pid"] not in (0, killed))
        project.wait()
        seconds.append(time.monotonic() - begun)
    record(
        back_after_kill_seconds={
            "median": round(statistics.median(seconds), 2),
            "most": round(max(seconds), 2),
        }
    )
    assert project.search(PICTURE) == before
    assert project.state()["RestartCount"] >= 5


def test_sigterm_answers_what_is_in_flight(another: Another) -> None:
    one = another("models", "releases", "secrets")
    one.up()
    picture = PICTURE.read_bytes()

    def ask() -> int:
        boundary = b"--x\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n"
        body = boundary + picture + b"\r\n--x--\r\n"

        def slowly() -> Iterator[bytes]:
            yield body[:1000]
            time.sleep(2)
            yield body[1000:]

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        return httpx.post(
            f"{one.url}/v1/search", content=slowly(), headers=headers, timeout=30
        ).status_code

    with ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(ask) for _ in range(4)]
        time.sleep(1)
        one.compose("stop", "serve")
        assert [one.result() for one in asked] == [200] * 4
    assert one.state()["ExitCode"] in (0, 143)


def test_bad_pictures_at_the_memory_limit_kill_nothing(project: Project, record: Record) -> None:
    project.wait()
    before = project.state()
    uploads = [data for data, _ in rejected().values()] + list(accepted().values())
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(4) as senders:

        def send(picture: bytes) -> int:
            return client.post(f"{project.url}/v1/search", files={"image": picture}).status_code

        statuses = Counter(senders.map(send, uploads * 10))
    most = docker(
        "exec", project.container(), "sh", "-c",
        "cd /sys/fs/cgroup; cat memory.peak memory/memory.max_usage_in_bytes 2>/dev/null",
        check=False,
    )  # fmt: skip
    record(
        bad_uploads={
            "uploads": len(uploads) * 10,
            "server_faults": sum(n for s, n in statuses.items() if s >= 500 and s != 503),
            "most_memory_mib": int(most.split()[0]) >> 20 if most else None,
        }
    )
    assert not [status for status in statuses if status >= 500 and status != 503], statuses
    after = project.state()
    assert after["Pid"] == before["Pid"]
    assert not after["OOMKilled"]
    assert project.is_ready()


def test_volumes_that_cannot_be_written(another: Another, tmp_path: Path) -> None:
    """Read-only and full ones: one line, and what was served is served on."""
    own = collection(tmp_path, 10)
    one = another("models", COLLECTION=own)
    one.up()
    before = one.search(PICTURE)
    shutil.copy(PICTURE, next(own.iterdir()))
    models = ("-v", f"{one.name}_models:/artkin/models:ro", "-v", f"{own}:/collection:ro")
    run = ("docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", *models)
    what = (image("job"), "rebuild", "/collection", "--model", "models/art-1")
    read_only = ("-v", f"{one.name}_releases:/artkin/releases:ro")
    ended = subprocess.run([*run, *read_only, *what], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Read-only file system" in ended.stderr
    assert "Traceback" not in ended.stderr
    full = ("--tmpfs", "/artkin/releases:size=200k,uid=10001")
    ended = subprocess.run([*run, *full, *what], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "disk is full" in ended.stderr or "free" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert one.search(PICTURE) == before


def test_a_release_of_the_format_before_is_indexed_again(another: Another) -> None:
    one = another("models", "releases")
    shell(one, change_manifest("'/releases/current'", "d['format']-=1"), "releases")
    old = shell(one, "readlink /releases/current", "releases")
    one.up()
    assert one.admin("GET", "/v1/collection").json()["works"] == 267
    assert shell(one, "readlink /releases/current", "releases") != old
    assert "indexing /collection" in one.logs("setup")


def test_keys_are_changed_without_a_restart(another: Another) -> None:
    one = another("models", "releases")
    one.up()
    old, process = one.key(), one.state()["Pid"]

    def status(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.get(f"{one.url}/v1/admin/jobs", headers=headers, timeout=30).status_code

    key_of = ("run", "--rm", "setup", "key", "/run/secrets/admin.key")
    assert one.compose(*key_of).returncode == 0
    new = one.key()
    assert new != old
    assert [status(old), status(new)] == [200, 200]
    assert one.compose(*key_of, "--drop-old").returncode == 0
    assert [status(old), status(new)] == [401, 200]
    assert one.state()["Pid"] == process


def test_a_backup_is_restored_on_an_empty_machine(another: Another, tmp_path: Path) -> None:
    """With a work taken down before, which must not come back."""
    one = another("models", "releases")
    one.up()
    gone = one.search(PICTURE)["results"][0]["id"]
    removed = one.compose("run", "--rm", "job", "remove", gone, "--reason", "by wish")
    assert removed.returncode == 0, removed.stdout
    wait_for(one, lambda: one.search(PICTURE)["results"][0]["id"] != gone)
    backup = tmp_path / "backup"
    backup.mkdir(mode=0o700)
    os.chown(backup, 10001, 10001)
    pack = ("job", "pack", "--model", "models/art-1", "--to", "/backup/art.tar")
    packed = one.compose("run", "--rm", *pack, ARTKIN_BACKUP=backup)
    assert packed.returncode == 0, packed.stdout
    before = one.search(PICTURE, k=20)
    one.remove()  # the machine is gone
    empty = another()
    restored = empty.compose(
        "run", "--rm", "job", "restore", "/backup/art.tar", ARTKIN_BACKUP=backup
    )
    assert restored.returncode == 0, restored.stdout
    empty.up()
    assert empty.search(PICTURE, k=20)["results"] == before["results"]
    assert httpx.get(f"{empty.url}/v1/items/{gone}", timeout=30).status_code == 404
    rebuilt = empty.compose("run", "--rm", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stdout
    assert "nothing to do" in rebuilt.stdout  # it is still in the collection
    assert httpx.get(f"{empty.url}/v1/items/{gone}", timeout=30).status_code == 404
    assert "$ artkin train" not in empty.logs("setup")


def test_a_takedown_and_a_rollback(another: Another) -> None:
    one = another("models", "releases")
    one.up()
    first = one.search(PICTURE)["index_version"]
    gone = one.search(PICTURE)["results"][0]["id"]
    assert one.compose("run", "--rm", "job", "remove", gone, "--reason", "rights").returncode == 0
    wait_for(one, lambda: httpx.get(f"{one.url}/v1/items/{gone}", timeout=30).status_code == 404)
    indexed = ("run", "--rm", "job", "index", "/collection", "--model", "models/art-1")
    assert one.compose(*indexed, "--exclude", "train/1890s/*").returncode == 0
    published = one.compose("run", "--rm", "job", "publish", "--force", "to roll it back")
    assert published.returncode == 0, published.stdout
    wait_for(one, lambda: not one.search(PICTURE)["index_version"].startswith(first))
    assert one.compose("run", "--rm", "job", "rollback").returncode == 0
    wait_for(one, lambda: one.search(PICTURE)["index_version"].startswith(first))
    assert httpx.get(f"{one.url}/v1/items/{gone}", timeout=30).status_code == 404
    # Over HTTP the releases are out of reach: the job says so and is no fault.
    other = one.search(PICTURE)["results"][0]["id"]
    assert one.admin("DELETE", f"/v1/admin/items/{other}").status_code == 200
    assert httpx.get(f"{one.url}/v1/items/{other}", timeout=30).status_code == 404
    wait_for(one, lambda: one.admin("GET", "/v1/admin/jobs").json()["jobs"][0]["status"] == "done")
    assert "read-only" in one.admin("GET", "/v1/admin/jobs").text
    rebuilt = one.compose("run", "--rm", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stdout
    assert "without the removed works" in rebuilt.stdout
