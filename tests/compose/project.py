"""One compose project of this checkout on a real Docker engine, for tests."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "art_institute"
SERVE = ["serve"]


def compose_command() -> list[str]:
    """Compose, old or new; COMPOSE="docker compose" chooses."""
    if named := os.environ.get("COMPOSE"):
        return shlex.split(named)
    return ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


def why_not() -> str:
    """Why no engine can be used here, or nothing."""
    if not shutil.which("docker"):
        return "needs Docker"
    asked = subprocess.run(["docker", "info"], capture_output=True, check=False)
    if asked.returncode:
        return "needs a Docker engine that runs: `docker info` fails"
    asked = subprocess.run([*compose_command(), "version"], capture_output=True, check=False)
    return "needs docker-compose" if asked.returncode else ""


def docker(*words: object, check: bool = True) -> str:
    """What a docker command prints."""
    command = ["docker", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout.strip()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Project:
    """Containers, volumes and a port of their own.

    Args:
        name: of the project; its volumes are `<name>_<volume>`.
        checkout: whose compose file it is.
        variables: those of .env.example.
    """

    def __init__(self, name: str, checkout: Path = ROOT, **variables: object) -> None:
        self.name, self.checkout = name, checkout
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.variables = {"ARTKIN_PORT": self.port, **variables}
        # One for all looks: `httpx.get` reads the machine's certificates each time, which takes
        # a core from the service that is waited for.
        self._looks = httpx.Client(base_url=self.url, timeout=2)

    def compose(self, *words: object, **variables: object) -> subprocess.CompletedProcess[str]:
        """Run a compose command; `stdout` of what comes back has both streams."""
        given = {**self.variables, **variables}
        return subprocess.run(
            [*compose_command(), "-p", self.name, *map(str, words)],
            cwd=self.checkout,
            env={**os.environ, **{name: str(value) for name, value in given.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def up(self, **variables: object) -> float:
        """Start everything and wait until it answers.

        Returns:
            Seconds that took.
        """
        begun = time.monotonic()
        ended = self.compose("up", "-d", **variables)
        assert ended.returncode == 0, ended.stdout + self.logs("setup")
        self.wait()
        return time.monotonic() - begun

    def wait(self) -> float:
        """Wait until it is ready.

        Returns:
            Seconds that took.
        """
        begun = time.monotonic()
        while not self.is_ready():
            assert time.monotonic() - begun < 60, self.logs("serve")
            time.sleep(0.02)
        return time.monotonic() - begun

    def is_ready(self) -> bool:
        """Whether it answers and is ready."""
        try:
            return self._looks.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def logs(self, service: str) -> str:
        """What a service has printed."""
        return self.compose("logs", "--no-color", service).stdout

    def container(self, service: str = "serve") -> str:
        """Id of a service's container."""
        ids = docker(
            *("ps", "--all", "--quiet"),
            *("--filter", f"label=com.docker.compose.project={self.name}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        )
        return ids.splitlines()[0]

    def state(self, service: str = "serve") -> dict[str, Any]:
        """The engine's own account of a container: Status, Pid, ExitCode, OOMKilled."""
        found: dict[str, Any] = json.loads(docker("inspect", self.container(service)))[0]
        return {**found["State"], "RestartCount": found["RestartCount"]}

    def inside(self, code: str) -> str:
        """What Python prints in the service's container."""
        return docker("exec", self.container(), "python", "-c", code)

    def key(self, name: str = "admin.key") -> str:
        """The newest key of a file."""
        return docker("exec", self.container(), "cat", f"/run/secrets/{name}").splitlines()[0]

    def admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An admin call."""
        headers = {"Authorization": f"Bearer {self.key()}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=60, **options)

    def search(self, picture: Path, **options: Any) -> dict[str, Any]:
        """The answer to a picture."""
        with picture.open("rb") as file:
            answer = httpx.post(
                f"{self.url}/v1/search", files={"image": file}, params=options, timeout=60
            )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def remove(self) -> None:
        """Everything, volumes too."""
        self.compose("--profile", "job", "down", "-v", "--remove-orphans", "-t", 2)


def change_manifest(folder: str, change: str) -> str:
    """A shell command that changes a manifest, `d`, and seals it again.

    Args:
        folder: a Python expression for its path.
        change: a Python statement.
    """
    code = (
        f"import hashlib,json,os,pathlib;p=pathlib.Path({folder})/'manifest.json';"
        f"d=json.loads(p.read_text());{change};t=json.dumps(d);p.write_text(t);"
        "p.with_name('manifest.sha256')"
        ".write_text(hashlib.sha256(t.encode()).hexdigest()+'  manifest.json\\n')"
    )
    return f'python -c "{code}"'
