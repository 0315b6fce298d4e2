"""The units of systemd: what systemd says of them, and that the product lives with their limits.

No systemd needs to run: the filter of system calls is made of what `systemd-analyze` lists, and
everything else that a unit asks for is systemd's to do.
"""

from __future__ import annotations

import argparse
import ctypes.util
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import artkin
from app.serve import GRACE_SECONDS
from app.settings import PREFIX, Settings, read_settings
from index import rebuild
from index.releases import current_id
from tests.app import conftest
from tests.app.conftest import ROOT

UNITS = ROOT / "deploy/systemd"
SERVE = (UNITS / "artkin.service").read_text()
REBUILD = (UNITS / "artkin-rebuild.service").read_text()
# systemd's own scale, 0 to 10; it has 9.6 for a unit that asks for nothing. Above 0 are what is
# left out for reasons (see artkin.service) and, of the service, being reached over the network.
MOST_EXPOSED = {"artkin.service": 1.5, "artkin-rebuild.service": 0.8}

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze: apt-get install systemd"
)
needs_seccomp = pytest.mark.skipif(
    not (shutil.which("systemd-analyze") and ctypes.util.find_library("seccomp")),
    reason="needs systemd-analyze and libseccomp, on Linux",
)


def values(unit: str, key: str) -> list[str]:
    """What a unit gives a key, with lines that go on made one."""
    return re.findall(rf"^{key}=(.*)$", unit.replace("\\\n", ""), re.M)


def analyse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def installed(folder: Path, add: str = "") -> list[Path]:
    """Copies of the units, their command one that is there."""
    command = folder / "artkin"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copies = []
    for unit in sorted(UNITS.iterdir()):
        copies.append(folder / unit.name)
        text = unit.read_text().replace("/opt/artkin/bin/artkin", str(command))
        copies[-1].write_text(text.replace("[Service]\n", f"[Service]\n{add}"))
    return copies


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    found = analyse("verify", "--man=no", *installed(tmp_path))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    wrong = analyse("verify", "--man=no", *installed(tmp_path, "ProtectSystems=strict\n"))
    assert "ProtectSystems" in wrong.stderr


@needs_systemd
@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_systemd_finds_little_to_be_attacked(name: str) -> None:
    most = round(MOST_EXPOSED[name] * 10)
    found = analyse("security", "--offline=true", "--no-pager", f"--threshold={most}", UNITS / name)
    assert found.returncode == 0, found.stdout


def test_bad_input_is_no_restart_loop_and_a_refusal_is_a_failure() -> None:
    assert values(SERVE, "Restart") == ["on-failure"]
    assert values(SERVE, "RestartPreventExitStatus") == ["2"]
    assert artkin.main(["serve", "--model", "x", "--port", "0", "--admin-key-file", "none"]) == 2
    # 143 is a stop, and nothing else than 0 is success beside it.
    assert values(SERVE, "SuccessExitStatus") == values(REBUILD, "SuccessExitStatus") == ["143"]
    assert values(REBUILD, "Restart") == []


def test_searches_in_flight_are_answered_before_it_ends() -> None:
    # Else the decoders would be told to end with the service.
    assert values(SERVE, "KillMode") == ["mixed"]
    assert int(values(SERVE, "TimeoutStopSec")[0]) > GRACE_SECONDS
    # Else a decoder that was killed for its memory would take the service along.
    assert values(SERVE, "OOMPolicy") == ["continue"]


def test_variables_are_settings_and_the_job_uses_the_same_folders(monkeypatch) -> None:
    commented = re.findall(r"^# Environment=(ARTKIN_.+)$", SERVE, re.M)
    assert len(commented) == 1
    given = dict(
        one.split("=", 1)
        for line in values(SERVE, "Environment") + commented
        for one in line.split()
    )
    assert {name.removeprefix(PREFIX).lower() for name in given} <= set(Settings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = read_settings({})

    parser = argparse.ArgumentParser()
    rebuild.add_arguments(parser)
    _, command, *arguments = shlex.split(values(REBUILD, "ExecStart")[0])
    options = parser.parse_args(arguments)
    assert command == "rebuild"
    for name in ("model", "releases", "state"):
        assert getattr(options, name) == getattr(settings, name)
    may_write = {f"/var/lib/{name}" for name in values(REBUILD, "StateDirectory")[0].split()}
    assert may_write == {str(settings.releases), str(settings.state)}
    assert f"/var/lib/{values(SERVE, 'StateDirectory')[0]}" == str(settings.state)


def listed(group: str) -> set[str]:
    """The system calls of one of systemd's groups, those in it followed."""
    found = set()
    for name in analyse("syscall-filter", group).stdout.split("\n")[1:]:
        if (name := name.strip()).startswith("@"):
            found |= listed(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


@pytest.fixture
def confined(tmp_path: Path):
    """A factory: the command of Python that runs with a unit's limits."""

    def command(unit: str, *flags: str) -> list[str]:
        allowed: set[str] = set()
        for group in values(unit, "SystemCallFilter"):
            allowed = (
                allowed - listed(group[1:]) if group.startswith("~") else allowed | listed(group)
            )
        assert "read" in allowed
        assert not {"mount", "setuid", "ptrace", "bpf"} & allowed
        (tmp_path / "allowed").write_text("\n".join(allowed))
        (families,) = values(unit, "RestrictAddressFamilies")
        numbers = ",".join(str(int(getattr(socket, name))) for name in families.split())
        runner = Path(__file__).with_name("confined.py")
        return [sys.executable, str(runner), str(tmp_path / "allowed"), numbers, *flags]

    return command


def serve(monkeypatch, tmp_path: Path, confined: list[str], *arguments: object):
    """`artkin serve` as the service's own tests start it, but confined."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.join([*confined, sys.executable])} "$@"\n')
    python.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(conftest.sys, "executable", str(python))
        return conftest.start("--state", tmp_path / "state", *arguments)


@needs_seccomp
def test_the_service_works_with_its_system_calls_and_sockets(
    monkeypatch, tmp_path, confined, tiny_model, published, a_photo, key_file
) -> None:
    places = ("--model", tiny_model, "--releases", published, "--admin-key-file", key_file)
    service = serve(monkeypatch, tmp_path, confined(SERVE), *places)
    service.wait_for("/readyz", 200)
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    assert re.search(r"^Seccomp:\s2$", status, re.M)
    for _ in range(3):
        assert len(service.search(a_photo).json()["results"]) == 5
    headers = conftest.ADMIN
    added = {"content": a_photo, "headers": {**headers, "Content-Type": "image/jpeg"}}
    assert service.post("/v1/admin/items?id=mine", **added).status_code == 201
    where = service.post("/v1/admin/evaluations", headers=headers).headers["location"]
    with service.http.stream("GET", f"{service.url}{where}/events", headers=headers) as events:
        assert [line for line in events.iter_lines() if "event" in line][-1] == "event: done"
    assert service.stop() == 0


@needs_seccomp
def test_a_rebuild_works_with_its_system_calls_and_without_a_network(
    tmp_path, confined, tiny_model, collection
) -> None:
    releases = tmp_path / "releases"
    command = ["-m", "artkin", "rebuild", collection, "--model", tiny_model]
    done = subprocess.run(
        [*confined(REBUILD), sys.executable, *command, "--releases", releases, "--state", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert current_id(releases) is not None


@needs_seccomp
@pytest.mark.skipif(
    tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (6, 3),
    reason="needs Linux 6.3, whose prctl has PR_SET_MDWE",
)
def test_the_runtime_needs_what_the_unit_says_it_needs(
    monkeypatch, tmp_path, confined, tiny_model, published
) -> None:
    """With MemoryDenyWriteExecute=, which the unit leaves out, no model can be run."""
    places = ("--model", tiny_model, "--releases", published)
    service = serve(monkeypatch, tmp_path, confined(SERVE, "--no-jit"), *places)
    service.wait_for_log("not ready")
    assert service.get("/readyz").status_code == 503
    service.process.kill()
