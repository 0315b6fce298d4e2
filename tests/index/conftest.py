"""Small collections that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bad_pictures import photo
from tests.conftest import Painter
from tests.index.rebuild_job import Job


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "one.png"
    photo(40, 30).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path, picture: Path) -> Path:
    """Two classes of two pictures, and the names that tests add to."""
    for name in ("a/1.png", "a/deeper/2.png", "b/1.png", "b/2.png"):
        put(tmp_path / "collection" / name, picture)
    return tmp_path / "collection"


def put(target: Path, picture: Path) -> None:
    """Copy a picture to a place whose folders need not be there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(picture, target)


@pytest.fixture
def art(tmp_path: Path, painted_collection: Painter) -> Path:
    """Thirty pictures that a test may change."""
    return painted_collection(tmp_path / "art", each=10)


@pytest.fixture
def job(art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job(art, tiny_model, tmp_path / "releases", capsys)
