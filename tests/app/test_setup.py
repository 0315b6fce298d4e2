"""Keys, and what a first start makes and leaves alone. Training in it: `tests/compose`."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artkin
from app.keys import Keys
from app.setup import _drop_run_of_others
from index.collection import read_collection
from index.releases import current_id
from training.dataset import prepare_dataset

SETUP = ["setup", "--releases", "releases", "--state", "state", "--runs", "runs"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(artkin.__file__).parent))


def test_a_key_is_replaced_in_two_steps() -> None:
    file = Path("keys/admin.key")
    assert artkin.main(["key", str(file)]) == 0
    (first,) = file.read_text().split()
    assert len(first) == 43  # 256 bits
    assert stat.S_IMODE(file.stat().st_mode) == 0o440
    keys = Keys(file, "admin_key_file", 2)
    assert artkin.main(["key", str(file)]) == 0
    second, again = file.read_text().split()
    assert again == first != second
    owners = {keys.owner(f"Bearer {key}".encode()) for key in (first, second)}
    assert None not in owners
    assert len(owners) == 2
    assert artkin.main(["key", str(file)]) == 2  # at most two: the service takes no more
    assert file.read_text().split() == [second, first]
    assert artkin.main(["key", str(file), "--drop-old"]) == 0
    assert file.read_text().split() == [second]
    assert keys.owner(f"Bearer {first}".encode()) is None


def test_a_search_key_is_added_and_shuts_nobody_out(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("search.key")
    callers = ["of-alice-0123456789", "of-bob-0123456789", "of-carol-0123456789"]
    file.write_text("\n".join(callers))
    assert artkin.main(["key", str(file)]) == 2
    assert "has 3: end the exchange" in capsys.readouterr().err
    assert artkin.main(["key", str(file), "--search"]) == 0
    new, *others = file.read_text().split()
    assert others == callers
    assert len(new) == 43


def test_keys_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    artkin.main(["key", "admin.key"])
    assert Path("admin.key").read_text().strip() not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["key", "none.key", "--drop-old"], ["key", "picture.png"]])
def test_a_file_that_has_no_keys_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("picture.png").write_bytes(b"\x89PNG\xff")
    assert artkin.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert Path("picture.png").read_bytes() == b"\x89PNG\xff"


def test_what_is_missing_is_made_and_what_is_there_is_left(
    collection: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = ["--keys", "keys", "--monitoring-keys", "monitoring"]
    command = [*SETUP, str(collection), "--model", str(tiny_model), *keys]
    assert artkin.main(command) == 0
    first = current_id(Path("releases"))
    made = {path: path.read_text() for path in (Path("keys"), Path("monitoring"))
            for path in path.iterdir()}  # fmt: skip
    assert sorted(map(str, made)) == [
        "keys/admin.key", "monitoring/grafana.key", "monitoring/metrics.key"
    ]  # fmt: skip
    said = capfd.readouterr().out
    assert "$ artkin rebuild" in said
    assert artkin.main(command) == 0
    assert current_id(Path("releases")) == first
    assert all(path.read_text() == text for path, text in made.items())
    said = capfd.readouterr().out
    assert "$ artkin" not in said
    assert f"release {first} is there, 24 works" in said


def test_another_collection_is_refused(
    collection: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert artkin.main([*SETUP, str(collection), "--model", str(tiny_model)]) == 0
    (tmp_path / "other").mkdir()
    shutil.copy(next(collection.rglob("*.png")), tmp_path / "other" / "else.png")
    capfd.readouterr()
    assert artkin.main([*SETUP, "other", "--model", str(tiny_model)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "none of its first 24" in line


def test_a_key_that_the_service_would_refuse_is_refused_here(
    collection: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("keys").mkdir()
    Path("keys/admin.key").write_text("short\n")
    command = [*SETUP, str(collection), "--model", str(tiny_model), "--keys", "keys"]
    assert artkin.main(command) == 2
    assert "at least 16 bytes" in capfd.readouterr().err
    assert not Path("releases").exists()


def test_a_setting_that_the_service_would_refuse_is_refused_here(
    collection: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in (("PER_MINUTE", "many"), ("SEARCH_KEY_FILE", "none.key")):
        with monkeypatch.context() as patch:
            patch.setenv(f"ARTKIN_{name}", value)
            assert artkin.main([*SETUP, str(collection), "--model", str(tiny_model)]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert f"ARTKIN_{name}" in line
        assert value in line
    assert not Path("releases").exists()


def test_nothing_is_learnt_of_a_collection_that_is_readable_in_part(
    collection: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The operating system's answer stands in for a permission, which root does not need."""
    scandir = os.scandir

    def listed(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("/cubism/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)
    assert artkin.main([*SETUP, str(collection), "--model", "models/art-1"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "every folder of the collection must be readable" in line
    assert not Path("runs").exists()


def test_pictures_that_nobody_could_use_are_refused_before_training(
    collection: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*SETUP, "art", "--sample", str(collection), "--model", "models/art-1"]
    Path("art").mkdir()
    Path("art/broken.jpg").write_bytes(b"hello")
    assert artkin.main(command) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "received 1 that cannot, the first broken.jpg: " in line
    Path("art/broken.jpg").unlink()
    shutil.copy(next(collection.rglob("*.png")), "art/closed.png")
    # Root may read everything; the system's answer stands in for a permission.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("closed.png"))
    assert artkin.main(command) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"user id {os.getuid()} must be allowed to read the pictures" in line
    assert "received 1 of 1 that it may not: closed.png" in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(("model", "may_write"), [("models/art", True), ("art-1", False)])
def test_a_model_that_could_not_be_written_is_refused_before_training(
    collection: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    model: str,
    may_write: bool,
) -> None:
    # Root may write everywhere; the system's answer stands in for a read-only disk.
    monkeypatch.setattr(os, "access", lambda path, mode: may_write)
    assert artkin.main([*SETUP, str(collection), "--model", model]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert (
        f"models/NAME-VERSION and its folder be one that can be written; received {model}" in line
    )
    assert not Path("runs").exists()


def test_a_release_of_another_model_is_refused(
    collection: Path, tiny_model: Path, other_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert artkin.main([*SETUP, str(collection), "--model", str(tiny_model)]) == 0
    capfd.readouterr()
    assert artkin.main([*SETUP, str(collection), "--model", str(other_model)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "was made by another model" in line


def test_a_full_state_is_refused(
    collection: Path, tiny_model: Path, small_disk: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    small_disk(Path("state").absolute(), "16k")
    assert artkin.main([*SETUP, str(collection), "--model", str(tiny_model)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "the disk is full (state/jobs.sqlite)" in line


def test_a_stopped_run_of_other_pictures_is_begun_anew(collection: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "art-1"
    run.mkdir(parents=True)
    art = Path(shutil.copytree(collection, tmp_path / "art"))
    found = read_collection(art)
    prepare_dataset(found, 32, run)
    _drop_run_of_others(run, found)
    assert run.is_dir()
    next(art.rglob("*.png")).unlink()
    _drop_run_of_others(run, read_collection(art))
    assert not run.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(
    collection: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("keys").mkdir(mode=0o500)
    command = [*SETUP, str(collection), "--model", str(tiny_model), "--keys", "keys"]
    assert artkin.main(command) == 2
    assert "make it with `artkin key`" in capfd.readouterr().err


def test_a_step_that_fails_ends_it_with_its_code(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        artkin.main([*SETUP, "empty", "--model", str(tiny_model)])
    assert ended.value.code == 2
    assert "no pictures" in capfd.readouterr().err
