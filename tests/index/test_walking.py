"""Folders to files: what is listed, what is left out and why, and what could not be read."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from index.collection import read_collection
from index.space.errors import BadInput
from tests.index.conftest import put


def names(root: Path, **options: object) -> list[str]:
    return [work.name for work in read_collection(root, **options).works]


def test_system_and_hidden_files_change_nothing_but_a_count(root: Path, picture: Path) -> None:
    before = read_collection(root)
    for name in ("a/.DS_Store", "a/Thumbs.db", "desktop.ini", "b/.hidden.png", "a/._1.png"):
        put(root / name, picture)
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git"):
        put(root / name / "1.png", picture)
    after = read_collection(root)
    assert after.works == before.works
    assert after.left_out == {"hidden or system file": 5}


def test_content_decides_and_a_name_that_promises_a_picture_is_listed(
    root: Path, picture: Path
) -> None:
    put(root / "a" / "no ending", picture)
    put(root / "a" / "wrong.txt", picture)
    (root / "a" / "page.JPG").write_text("<html>404</html>")
    (root / "a" / "readme.txt").write_text("hello")
    for name in ("one.PDF", "two.pdf", "LICENCE", "letter of 3. May, to Mr. X"):
        (root / "b" / name).write_text("hello")
    found = read_collection(root)
    listed = {work.name for work in found.works if work.label == "a"}
    assert {"a/no ending", "a/wrong.txt", "a/page.JPG"} <= listed
    assert found.left_out == {
        "not a picture (.txt)": 1,
        "not a picture (.pdf)": 2,
        "not a picture (no usual ending)": 2,
    }


def test_links_are_followed_once_and_loops_end(root: Path, tmp_path: Path, picture: Path) -> None:
    put(tmp_path / "elsewhere" / "3.png", picture)
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "again.png").symlink_to(root / "b" / "1.png")
    (root / "a" / "broken.png").symlink_to(root / "nowhere.png")
    found = read_collection(root)
    assert [work.name for work in found.works] == [
        "a/1.png",
        "a/again.png",
        "a/deeper/2.png",
        "b/2.png",
    ]
    assert found.left_out == {
        "broken link": 1,
        "second path to one file": 1,
        "link that leads outside the collection": 1,
    }
    assert found.warnings == [
        "links that lead nowhere: 1, the first a/broken.png",
        "links that lead outside the collection: 1, the first c; --follow-links takes them in",
    ]
    assert names(root, follow_outside=True)[-1] == "c/3.png"


def test_a_link_to_a_file_outside_and_to_itself(root: Path, tmp_path: Path, picture: Path) -> None:
    """The folder given may itself be a link; below it, each link is looked at on its own."""
    (root / "a" / "out.png").symlink_to(picture)
    (root / "a" / "self.png").symlink_to("self.png")
    (tmp_path / "linked").symlink_to(root)
    found = read_collection(tmp_path / "linked")
    assert found.left_out == {"broken link": 1, "link that leads outside the collection": 1}
    assert len(found.works) == 4
    # A folder beside it whose name begins alike is outside as well.
    put(tmp_path / "collection2" / "5.png", picture)
    (root / "d").symlink_to(tmp_path / "collection2")
    assert names(root) == ["a/1.png", "a/deeper/2.png", "b/1.png", "b/2.png"]
    followed = read_collection(root, follow_outside=True)
    assert [w.name for w in followed.works if w.name not in names(root)] == ["a/out.png", "d/5.png"]
    assert read_collection(root, exclude=["d/*", "a/out*"]).left_out == {
        "broken link": 1,
        "excluded": 2,
    }


def test_pipes_are_left_out(root: Path) -> None:
    """Opening one would wait for ever."""
    os.mkfifo(root / "a" / "pipe.jpg")
    os.mkfifo(root / "a" / "pipe")
    assert read_collection(root).left_out == {"pipe, socket or device": 2}


def test_a_folder_that_cannot_be_read_is_named(picture: Path) -> None:
    """By a process that is not root's, which may read everything."""
    ask = """if True:
        import os, sys
        from pathlib import Path
        from index.collection import read_collection
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        found = read_collection(Path(sys.argv[1]))
        print(found.unreadable, found.left_out, found.warnings, len(found.works))
        found = read_collection(Path(sys.argv[1]), exclude=["b/*", "c/*"])
        print(found.unreadable, found.left_out, found.warnings)"""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name in ("a/1.png", "b/1.png", "c/1.png"):
            put(root / name, picture)
        (root / "b").chmod(0)
        (root / "c").chmod(0o644)  # names, and no way to their files
        done = subprocess.run(
            [sys.executable, "-c", ask, folder], capture_output=True, text=True, check=True
        )
        (root / "b").chmod(0o755)
        (root / "c").chmod(0o755)
    said = [f"{root}/{name}/: Permission denied" for name in "bc"]
    warnings = ["could not be read: 2: " + "; ".join(said)]
    assert done.stdout.splitlines() == [
        f"{said} {{'unreadable': 2}} {warnings} 1",
        "[] {'excluded': 2} []",
    ]


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.ENOENT])
def test_a_network_folder_that_goes_away_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The operating system's answers stand in for a network."""
    scandir = os.scandir

    def gone(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("/b/"):
            raise OSError(code, os.strerror(code), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", gone)
    found = read_collection(root)
    assert found.unreadable == [f"{root}/b/: {os.strerror(code)}"]
    assert [work.label for work in found.works] == ["a", "a"]
    for name in ("1.png", "deeper/2.png"):
        (root / "a" / name).unlink()
    with pytest.raises(BadInput, match=r"no picture that user id \d+ can read: .*/b/: "):
        read_collection(root)


@pytest.mark.parametrize(
    "name",
    ["100% & #1 ?.png", "-dash.png", "[a] 'b' \"c\".png", "神奈川沖浪裏.png", "é" * 120 + ".png"],
)
def test_names_may_hold_anything(root: Path, picture: Path, name: str) -> None:
    put(root / "a" / name, picture)
    work = next(w for w in read_collection(root).works if w.name == f"a/{name}")
    assert Image.open(work.path).size == (40, 30)


def test_a_name_that_is_not_utf8_can_be_printed_and_its_file_read(
    root: Path, picture: Path
) -> None:
    raw = os.path.join(os.fsencode(root), b"b\xe9", b"caf\xe9.png")
    os.mkdir(os.path.dirname(raw))
    shutil.copy(picture, raw)
    work = next(
        w for w in read_collection(root).works if w.name.startswith("b") and "caf" in w.name
    )
    work.name.encode()
    (work.label or "").encode()
    assert Image.open(work.path).size == (40, 30)
