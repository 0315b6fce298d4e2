"""Folders that are whole or not there, and that a changed byte anywhere makes unreadable."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from index.release import open_release
from index.releases import current_release
from index.space.artefact import (
    MANIFEST,
    SEAL,
    Manifest,
    new_file,
    new_folder,
    read_manifest,
    sha256_of,
    write_manifest,
)
from index.space.errors import ArtefactError, BadInput
from index.space.model import load_model


class Toy(Manifest):
    """The smallest manifest."""

    format: int = 1
    name: str


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    with new_folder(tmp_path / "toy") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.bin").write_bytes(bytes(range(64)))
        (folder / "b.txt").write_text("b")
        write_manifest(folder, Toy(files={}, name="toy"))
    return tmp_path / "toy"


def read(folder: Path) -> Toy:
    return read_manifest(folder, Toy, "toy", "make toy")


def damages(data: bytes, pieces: int = 12) -> Iterator[bytes]:
    """The file cut at several places, with a byte flipped at several places, and grown."""
    for place in range(0, len(data), max(1, len(data) // pieces)):
        yield data[:place]
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    yield data + b"\0"


def test_what_was_written_is_read(toy: Path) -> None:
    assert read(toy).name == "toy"
    assert set(read(toy).files) == {"deep/a.bin", "b.txt"}


def test_it_can_be_moved(toy: Path) -> None:
    assert read(toy.rename(toy.with_name("moved"))).name == "toy"


def test_a_folder_that_fails_is_not_there(tmp_path: Path) -> None:
    def write_half(target: Path) -> None:
        with new_folder(target) as folder:
            (folder / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(toy: Path) -> None:
    with pytest.raises(BadInput, match="must not exist yet"), new_folder(toy):
        pass
    assert read(toy).name == "toy"


def test_a_file_or_broken_link_in_the_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target, said in (
        ("file", "file must not exist yet"),
        ("link", "link must not exist yet"),
        ("file/toy", r"parent of .*file/toy must be a folder; received .*file, which is a file"),
        ("link/toy", "received .*link, which is a broken link; name another"),
        ("file/deep/er/toy", "received .*file/deep/er, and .*file is a file; name another"),
        ("n" * 250, "must be where a folder can be made; received File name too long"),
    ):
        with pytest.raises(BadInput, match=said), new_folder(tmp_path / target):
            pass
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("target", ["/proc/toy", "/proc/deep/toy"])
def test_a_folder_that_the_system_will_not_make_is_said(target: str) -> None:
    said = f"{target} must be where a folder can be made; received .*; name another"
    with pytest.raises(BadInput, match=said), new_folder(Path(target)):
        pass


def test_a_missing_file_is_named(toy: Path) -> None:
    (toy / "b.txt").unlink()
    with pytest.raises(ArtefactError, match=r"b\.txt is missing"):
        read(toy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2, of a newer artkin.* reads format 1: upgrade.*make toy"),
        ({"format": 0}, "format 0, this artkin reads format 1.*make toy"),
        ({"format": None}, "format None"),
        ({"name": 5}, "name"),
        ({"files": {"../b.txt": "0"}}, "outside the folder"),
        ({"files": {"/etc/passwd": "0"}}, "outside the folder"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(
    toy: Path, change: dict[str, object], said: str
) -> None:
    document = json.loads((toy / MANIFEST).read_text()) | change
    (toy / MANIFEST).write_text(json.dumps(document))
    (toy / SEAL).write_text(f"{sha256_of(toy / MANIFEST)}  {MANIFEST}\n")
    with pytest.raises(ArtefactError, match=said):
        read(toy)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\x00"])
def test_a_manifest_that_is_no_manifest_is_refused(toy: Path, text: str) -> None:
    (toy / MANIFEST).write_text(text)
    with pytest.raises(ArtefactError):
        read(toy)


def test_the_seal_is_what_sha256sum_prints(toy: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", SEAL], cwd=toy, check=True)
    (toy / SEAL).unlink()
    with pytest.raises(ArtefactError, match=r"manifest\.sha256"):
        read(toy)


def test_no_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="make one with `make toy`"):
        read(tmp_path)


def test_every_damaged_file_of_a_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "tiny-1"))
    assert_damage_is_refused(folder, load_model)


def test_every_damaged_file_of_a_release_is_refused(published: Path, tmp_path: Path) -> None:
    source = current_release(published)
    folder = Path(shutil.copytree(source, tmp_path / source.name))
    assert_damage_is_refused(folder, open_release)


def assert_damage_is_refused(folder: Path, open_it: Callable[[Path], object]) -> None:
    """Damage every file in turn, its manifest too; opening must be refused each time."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        for damaged in damages(whole):
            path.write_bytes(damaged)
            with pytest.raises(ArtefactError):
                open_it(folder)
        path.write_bytes(whole)
    open_it(folder)


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with new_file(target) as path:
        path.write_text("first")
    with contextlib.suppress(KeyError), new_file(target) as path:
        path.write_text("half of the sec")
        raise KeyError
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]
