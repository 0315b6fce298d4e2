"""`docker-compose up`: the first time, again, and with what it cannot use."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compose.conftest import image
from tests.compose.project import ROOT, SAMPLE, Project, change_manifest, compose_command, docker

pytestmark = [pytest.mark.slow, pytest.mark.compose]
PICTURE = next(iter(sorted(SAMPLE.glob("test/*/*.jpg"))))
# Docker before 20.10.10 answers clone3, which it does not know, with "not permitted".
# https://github.com/moby/moby/issues/42680
NO_CLONE3 = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        # and so does the thread that glibc would start with the older call
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ],
}
Another = Callable[..., Project]


def shell(project: Project, code: str, *volumes: str) -> str:
    """Run a shell as root over a project's volumes, mounted at /NAME."""
    mounts = [word for one in volumes for word in ("-v", f"{project.name}_{one}:/{one}")]
    run = ("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh")
    return docker(*run, *mounts, image("job"), "-ec", code)


def refused(project: Project, **variables: object) -> tuple[int, str]:
    """What `up` ends with and the last line of `setup`, which must have refused."""
    ended = project.compose("up", "-d", **variables)
    assert ended.returncode != 0, ended.stdout
    said = project.logs("setup")
    assert "Traceback" not in said
    lines = [line.split("|", 1)[1].strip() for line in said.splitlines() if "|" in line]
    return project.state("setup")["ExitCode"], lines[-1]


def test_a_first_start_makes_everything_and_answers(project: Project) -> None:
    said = project.logs("setup")
    assert "/run/secrets/admin.key has a new key" in said
    assert "phase 3, epoch" in said  # progress can be read
    assert project.state("setup")["ExitCode"] == 0
    found = project.search(PICTURE)
    assert found["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert len(found["results"]) == 5
    for _ in range(300):
        if (health := project.state()["Health"]["Status"]) == "healthy":
            break
        time.sleep(0.1)
    assert health == "healthy"


def test_a_second_start_does_none_of_it_again(
    project: Project, record: Callable[..., None]
) -> None:
    before = project.container()
    seconds = project.up()
    record(second_up_seconds=round(seconds, 1))
    assert project.container() == before
    said = project.logs("setup").splitlines()
    assert "the model models/art-1 is there" in said[-2]
    assert "267 works" in said[-1]
    assert sum("$ artkin train" in line for line in said) == 1


def test_down_and_up_answers_the_same(project: Project, record: Callable[..., None]) -> None:
    before = project.search(PICTURE, k=20)
    key = project.key()
    assert project.compose("down").returncode == 0
    record(down_and_up_again_seconds=round(project.up(), 1))
    assert project.search(PICTURE, k=20) == before
    assert project.key() == key


def test_pictures_without_classes_and_a_model_that_is_there(
    another: Another, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for picture in sorted(SAMPLE.glob("train/*/*.jpg"))[:12]:
        shutil.copy(picture, own)
    tmp_path.chmod(0o755)
    one = another("models", COLLECTION=own)
    one.up()
    assert one.admin("GET", "/v1/collection").json()["works"] == 12
    said = one.logs("setup")
    assert "the model models/art-1 is there" in said
    assert "$ artkin train" not in said


def test_a_collection_that_is_empty_missing_or_unreadable(another: Another, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    empty, closed = tmp_path / "empty", tmp_path / "closed"
    empty.mkdir()
    (closed / "a").mkdir(parents=True)
    shutil.copy(PICTURE, closed / "a")
    closed.chmod(0o700)  # of root; the container's user is 10001
    one = another("models")
    code, line = refused(one, COLLECTION=empty)
    assert code == 2
    assert "no pictures" in line
    one.compose("down")
    code, line = refused(one, COLLECTION=closed)
    assert code == 2
    assert "user id 10001 can read" in line
    assert "ermission denied" in line
    one.compose("down")
    # The engine makes an empty folder where there is none.
    code, line = refused(one, COLLECTION=tmp_path / "not-mounted")
    assert code == 2
    assert "no pictures" in line
    assert not docker("ps", "--quiet", "--filter", f"name={one.name}_serve")


def test_another_collection_than_the_release_s(another: Another, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "other").mkdir()
    shutil.copy(PICTURE, tmp_path / "other")
    one = another("models", "releases")
    code, line = refused(one, COLLECTION=tmp_path / "other")
    assert code == 2
    assert "none of its first 100" in line


def test_a_release_of_another_model_is_not_served(another: Another) -> None:
    one = another("models", "releases")
    other = "d['model_digest']='0'*64"
    shell(one, change_manifest("'/releases/current'", other), "releases")
    code, line = refused(one)
    assert code == 2
    assert "was made by another model" in line
    assert not docker("ps", "--quiet", "--filter", f"name={one.name}_serve")


@pytest.mark.parametrize("fault", ["missing", "short", "others may write"])
def test_a_secret_that_cannot_be_used(another: Another, fault: str) -> None:
    one = another("models", "releases", "secrets")
    one.up()
    spoil = {
        "missing": "rm /secrets/admin.key",
        "short": "echo short > /secrets/admin.key",
        "others may write": "chmod 666 /secrets/admin.key",
    }[fault]
    shell(one, spoil, "secrets")
    one.compose("restart", "serve")
    state = one.state()
    for _ in range(100):
        if state["Status"] == "restarting" or state["RestartCount"]:
            break
        time.sleep(0.1)
        state = one.state()
    lines = [line for line in one.logs("serve").splitlines() if "error: admin_key_file" in line]
    assert lines
    assert "Traceback" not in one.logs("serve")
    assert not one.is_ready()
    if fault != "missing":  # a missing one is made again
        code, line = refused(one)
        assert code == 2
        assert "admin_key_file must" in line
        assert "/run/secrets/admin.key" in line
    else:
        one.up()


def test_a_setting_that_cannot_be_used_starts_nothing(another: Another) -> None:
    """And no container that is started again and again."""
    one = another("models", "releases", "secrets")
    missing = "/run/secrets/search.key"
    for name, value in (("PER_MINUTE", "many"), ("SEARCH_KEY_FILE", missing)):
        code, line = refused(one, **{f"ARTKIN_{name}": value})
        assert code == 2
        assert f"ARTKIN_{name}" in line
        assert value in line


def test_a_taken_port_is_one_line(another: Another) -> None:
    one = another("models", "releases")
    with socket.create_server(("127.0.0.1", one.port)):
        ended = one.compose("up", "-d")
    assert ended.returncode != 0
    assert "port is already allocated" in ended.stdout or "address already in use" in ended.stdout


def test_an_engine_too_old_for_threads_is_one_line(images: None, tmp_path: Path) -> None:
    profile = tmp_path / "old.json"
    profile.write_text(json.dumps(NO_CLONE3))
    run = ("run", "--rm", "--security-opt", f"seccomp={profile}", "--network", "none")
    ended = subprocess.run(
        ["docker", *run, image("job"), "releases"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "Docker 20.10.10 or later" in ended.stderr
    assert "Traceback" not in ended.stderr


EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def test_every_variable_is_in_the_example() -> None:
    """Both ways, with the same defaults."""
    given = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.M))
    assert given.pop("COMPOSE_PROJECT_NAME") == "artkin"  # compose's own, the checkout's name
    used: dict[str, str] = {}
    for file in sorted(ROOT.glob("docker-compose*.yml")):
        text = file.read_text(encoding="utf-8")
        used |= dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))
    assert given == used


def test_compose_takes_the_example(engine: None, tmp_path: Path) -> None:
    filled = tmp_path / "env"
    filled.write_text(re.sub(r"^#([A-Z_]+=)", r"\1", EXAMPLE, flags=re.M), encoding="utf-8")
    asked = [*compose_command(), "--env-file", str(filled), "config", "--quiet"]
    assert subprocess.run(asked, cwd=ROOT, check=False).returncode == 0


def test_the_gpu_s_file_asks_for_one(engine: None) -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml", "--profile", "train")
    shown = subprocess.run(
        [*compose_command(), *files, "config"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "gpu" in shown
    assert "driver: nvidia" in shown
    assert "gpu.txt" in shown
