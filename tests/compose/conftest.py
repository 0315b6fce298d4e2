"""A project that has made its model and its first release, and others that borrow them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.compose.project import ROOT, Project, docker, why_not

FIGURES = ROOT / "benchmarks" / "results" / "compose.json"
_figures: dict[str, Any] = {}
_numbers = itertools.count()


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where there is no engine."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def record(engine: None) -> Iterator[Callable[..., None]]:
    """Keeps figures; `make compose-test` writes them down."""
    yield _figures.update
    if os.environ.get("RECORD"):
        command = {
            "command": "make compose-test",
            "engine": docker("version", "-f", "{{.Server.Version}}"),
        }
        FIGURES.write_text(json.dumps(command | _figures, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def images(engine: None, record: Callable[..., None]) -> None:
    """Both images, built of this checkout."""
    built = Project("artkin-test-build").compose("build", "setup", "serve")
    assert built.returncode == 0, built.stdout


@pytest.fixture(scope="session")
def project(images: None, record: Callable[..., None]) -> Iterator[Project]:
    """`docker-compose up` of a fresh checkout, of the sample collection."""
    made = Project("artkin-test")
    made.remove()
    try:
        record(first_up_seconds=round(made.up(), 1))
        yield made
    finally:
        made.remove()


@pytest.fixture
def another(project: Project) -> Iterator[Callable[..., Project]]:
    """Makes projects with copies of `project`'s volumes: name them, and variables."""
    made: list[Project] = []

    def make(*volumes: str, **variables: object) -> Project:
        one = Project(f"artkin-test-{next(_numbers)}", **variables)
        one.remove()
        made.append(one)
        for volume in volumes:
            docker("volume", "create", f"{one.name}_{volume}")
            docker(
                *("run", "--rm", "--user", "0", "--entrypoint", "cp"),
                *("-v", f"{project.name}_{volume}:/from:ro", "-v", f"{one.name}_{volume}:/to"),
                *(image("job"), "-a", "/from/.", "/to/"),
            )
        return one

    yield make
    for one in made:
        one.remove()


def image(name: str) -> str:
    """An image of this checkout with its tag."""
    tag = os.environ.get("ARTKIN_VERSION", "0.1.0")
    return f"artkin-{name}:{tag}"
