"""What the running service may do, asked inside its container."""

from __future__ import annotations

import json
import time

import pytest

from tests.compose.conftest import image
from tests.compose.project import Project, docker

pytestmark = [pytest.mark.slow, pytest.mark.compose]
WRITES = """
import os, tempfile
places = ['/', '/tmp', '/srv/artkin', '/opt/artkin', '/etc', '/home', '/var/tmp', '/run',
          '/run/secrets', '/artkin', '/artkin/models', '/artkin/releases', '/artkin/state',
          '/dev/shm']
for place in places:
    try:
        with tempfile.TemporaryFile(dir=place):
            print(place)
    except OSError:
        pass
"""


def test_it_has_no_capability_and_no_way_to_one(project: Project) -> None:
    status = project.inside(
        "print(open('/proc/1/status').read(), open('/proc/self/status').read())"
    )
    facts = [line.split(":", 1) for line in status.splitlines() if ":" in line]
    found: dict[str, set[str]] = {}
    for name, value in facts:
        found.setdefault(name.strip(), set()).add(value.strip())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert found[name] == {"0" * 16}, name
    assert found["NoNewPrivs"] == {"1"}
    assert found["Seccomp"] == {"2"}
    assert found["Uid"] == {"10001\t10001\t10001\t10001"}
    assert found["Gid"] == {"10001\t10001\t10001\t10001"}


def test_it_writes_to_tmp_and_its_own_state_alone(project: Project) -> None:
    # /dev/shm is memory that every container has; it is counted against the limit.
    assert project.inside(WRITES).split() == ["/tmp", "/artkin/state", "/dev/shm"]


@pytest.mark.parametrize("service", ["serve", "setup"])
def test_the_engine_holds_the_limits(project: Project, service: str) -> None:
    found = json.loads(docker("inspect", project.container(service)))[0]["HostConfig"]
    assert found["ReadonlyRootfs"]
    assert found["CapDrop"] == ["ALL"]
    assert not found["CapAdd"]
    assert "no-new-privileges:true" in found["SecurityOpt"]
    assert found["Memory"] == found["MemorySwap"] > 0
    assert found["PidsLimit"] > 0
    assert found["NanoCpus"] > 0
    assert found["Init"]
    assert not found["Privileged"]


def test_what_it_serves_is_mounted_read_only(project: Project) -> None:
    mounts = json.loads(docker("inspect", project.container()))[0]["Mounts"]
    writable = {mount["Destination"] for mount in mounts if mount["RW"]}
    assert writable == {"/artkin/state"}
    job = json.loads(docker("inspect", project.container("setup")))[0]["Mounts"]
    assert not [m for m in job if m["Destination"] in ("/collection", "/sample") and m["RW"]]


def test_it_is_reached_from_this_machine_alone(project: Project) -> None:
    ports = json.loads(docker("inspect", project.container()))[0]["NetworkSettings"]["Ports"]
    assert {one["HostIp"] for bound in ports.values() for one in bound or ()} == {"127.0.0.1"}


def test_keys_are_in_no_environment_and_no_command(project: Project) -> None:
    found = docker("inspect", project.container(), project.container("setup"))
    assert project.key() not in found
    assert project.key() not in project.logs("setup") + project.logs("serve")


def test_it_needs_no_network(project: Project) -> None:
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/v1/collection').read().decode())"
    volumes = [f"{project.name}_{volume}:/artkin/{volume}:ro" for volume in ("models", "releases")]
    container = docker(
        *("run", "--detach", "--network", "none", "--read-only", "--tmpfs", "/tmp"),
        *("--cap-drop", "ALL", "-v", volumes[0], "-v", volumes[1]),
        *("--env", "ARTKIN_MODEL=models/art-1", image("serve")),
    )
    try:
        for _ in range(300):
            if answer := docker("exec", container, "python", "-c", ask, check=False):
                break
            time.sleep(0.1)
        assert json.loads(answer)["works"] == project.admin("GET", "/v1/collection").json()["works"]
    finally:
        docker("rm", "--force", container)
