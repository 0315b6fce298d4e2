"""What the images are, before anything runs in them."""

from __future__ import annotations

import json
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import image
from tests.compose.project import ROOT, Project, docker

pytestmark = [pytest.mark.slow, pytest.mark.compose, pytest.mark.usefixtures("images")]
BASE = "python:3.11-slim-bookworm"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def facts(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return found


def test_serve_is_small_and_has_no_tensorflow(record: Callable[..., None]) -> None:
    beyond = (facts(image("serve"))["Size"] - facts(BASE)["Size"]) / 1e6
    job = (facts(image("job"))["Size"] - facts(BASE)["Size"]) / 1e6
    record(serve_mb_beyond_base=round(beyond), job_mb_beyond_base=round(job))
    assert beyond <= 320
    found = docker(
        *("run", "--rm", "--network", "none", "--entrypoint", "find", image("serve")),
        *("/opt/artkin", "-maxdepth", "5", "-iname", "tensorflow*", "-o", "-iname", "keras*"),
    )
    # OpenVINO's own reader of SavedModels is all that has the name.
    assert not [line for line in found.splitlines() if "/site-packages/tensorflow" in line]


@pytest.mark.parametrize("name", ["serve", "job"])
def test_images_say_what_they_are_and_run_as_nobody(name: str) -> None:
    config = facts(image(name))["Config"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.revision"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "/srv/artkin/artkin.py"]


def test_the_revision_is_that_of_the_commit() -> None:
    """Labels stand last, so that a build for another one takes every layer from before."""
    built = Project("artkin-test-label").compose(
        *("build", "serve"), ARTKIN_VERSION="test-label", ARTKIN_REVISION="0" * 40
    )
    assert built.returncode == 0, built.stdout
    try:
        labels = facts("artkin-serve:test-label")["Config"]["Labels"]
        assert labels["org.opencontainers.image.revision"] == "0" * 40
        assert labels["org.opencontainers.image.version"] == "test-label"
        ours, theirs = (
            set(facts(one)["RootFS"]["Layers"])
            for one in (image("serve"), "artkin-serve:test-label")
        )
        assert ours == theirs
    finally:
        docker("rmi", "artkin-serve:test-label")


@pytest.mark.parametrize("name", ["serve", "job"])
def test_a_change_of_code_installs_nothing_again(
    name: str, tmp_path: Path, record: Callable[..., None]
) -> None:
    copy = tmp_path / "checkout"
    files = subprocess.run(
        ["git", "ls-files", "-z", "docker-compose.yml", "Dockerfile", ".dockerignore", "artkin.py",
         "app", "index", "training", "requirements"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for file in filter(None, files):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((ROOT / file).read_bytes())
    changed = copy / "index" / "progress.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    begun = time.monotonic()
    # By compose, as before: its builder may not take the layers of `docker build`.
    changed_project = Project("artkin-test-change", copy, ARTKIN_VERSION="test-change")
    built = changed_project.compose("--profile", "job", "build", name)
    assert built.returncode == 0, built.stdout
    record(**{f"{name}_rebuilt_after_a_change_seconds": round(time.monotonic() - begun, 1)})
    try:
        before = facts(image(name))["RootFS"]["Layers"]
        after = facts(f"artkin-{name}:test-change")["RootFS"]["Layers"]
        sizes = docker("history", "--format", "{{.Size}}", f"artkin-{name}:test-change")
        shared = [layer for layer in after if layer in before]
        # base, folders, work directory, packages and artkin.py are taken from before
        assert len(after) == len(before)
        assert len(after) - len(shared) <= 3, sizes
    finally:
        docker("rmi", f"artkin-{name}:test-change")
