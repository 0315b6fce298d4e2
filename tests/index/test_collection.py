"""One reading of folders: classes, splits, what is left out and why, and the owner's manifest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

import artkin
from index.collection import read_collection
from index.space.errors import BadInput
from tests.bad_pictures import photo


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
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(picture, target)


def names(root: Path, **options: object) -> list[str]:
    return [work.name for work in read_collection(root, **options).works]


def test_the_first_folder_is_the_class(root: Path) -> None:
    works = read_collection(root).works
    assert [(work.name, work.label, work.split) for work in works] == [
        ("a/1.png", "a", None),
        ("a/deeper/2.png", "a", None),
        ("b/1.png", "b", None),
        ("b/2.png", "b", None),
    ]
    assert len({work.id for work in works}) == 4


def test_ids_do_not_depend_on_where_the_collection_lies(root: Path) -> None:
    before = [work.id for work in read_collection(root).works]
    moved = root.rename(root.with_name("moved"))
    assert [work.id for work in read_collection(moved).works] == before


def test_train_and_test_are_splits_and_not_classes(tmp_path: Path, picture: Path) -> None:
    for name in ("train/a/1.png", "test/a/1.png", "train/2.png"):
        put(tmp_path / "split" / name, picture)
    works = read_collection(tmp_path / "split").works
    assert [(work.split, work.label) for work in works] == [
        ("test", "a"),
        ("train", None),
        ("train", "a"),
    ]


def test_a_picture_in_the_root_has_no_class(root: Path, picture: Path) -> None:
    put(root / "stray.png", picture)
    stray = next(work for work in read_collection(root).works if work.name == "stray.png")
    assert (stray.label, stray.split) == (None, None)


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


def test_empty_class_folders_are_no_classes(root: Path) -> None:
    (root / "empty").mkdir()
    assert {work.label for work in read_collection(root).works} == {"a", "b"}


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
        "c/3.png",
    ]
    assert found.left_out == {"broken link": 1, "second path to one file": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_an_unreadable_folder_is_counted(root: Path) -> None:
    (root / "b").chmod(0)
    found = read_collection(root)
    (root / "b").chmod(0o755)
    assert {work.label for work in found.works} == {"a"}
    assert sum(found.left_out.values()) == 1


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


def test_excluded_paths_are_left_out_and_counted(root: Path) -> None:
    found = read_collection(root, exclude=["a/*"])
    assert [work.name for work in found.works] == ["b/1.png", "b/2.png"]
    assert found.left_out == {"excluded": 2}


def test_a_manifest_is_joined_by_path(root: Path) -> None:
    (root / "manifest.csv").write_bytes(
        "\ufeffpath,id,title,artist,date\r\n"
        'b/2.png,B-2,"Still Life, with ""Fruit""",Clara Peeters,1611\r\n'
        "\r\n"
        "a/1.png,A-1,One,,\r\n".encode()
    )
    works = {work.name: work for work in read_collection(root).works}
    assert works["b/2.png"].id == "B-2"
    assert works["b/2.png"].metadata == {
        "title": 'Still Life, with "Fruit"',
        "artist": "Clara Peeters",
        "date": "1611",
    }
    assert works["a/1.png"].metadata == {"title": "One"}
    assert works["b/1.png"].metadata == {}


def test_a_manifest_matches_composed_and_decomposed_accents(root: Path, picture: Path) -> None:
    put(root / "a" / "cafe\u0301.png", picture)
    (root / "manifest.csv").write_text("path,title\na/caf\u00e9.png,Café\n", encoding="utf-8")
    work = next(w for w in read_collection(root).works if "caf" in w.name)
    assert work.metadata == {"title": "Café"}


def test_rows_without_a_picture_are_warned_of(root: Path) -> None:
    (root / "manifest.csv").write_text("path,title\nb/gone.png,Gone\n")
    assert "b/gone.png" in read_collection(root).warnings[0]


def test_rows_without_a_picture_are_warned_of_unless_they_were_excluded(root: Path) -> None:
    (root / "manifest.csv").write_text("path,title\na/1.png,One\na/99.png,Lost\n")
    assert read_collection(root).warnings == [
        "manifest.csv: rows without a picture: 1, the first 'a/99.png'"
    ]
    assert len(read_collection(root, exclude=["a/1.png"]).warnings) == 1
    assert read_collection(root, exclude=["a/99.png"]).warnings == []


def test_a_manifest_without_paths_is_warned_of(root: Path) -> None:
    (root / "manifest.csv").write_text("file;title\nb/1.png;One\n")
    found = read_collection(root)
    assert "no column 'path'" in found.warnings[0]
    assert len(found.works) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"path,title\n,No path\n", r"manifest\.csv:2"),
        (b"path,title\na/1.png," + b"x" * 200_000 + b"\n", r"manifest\.csv:2: not a row of CSV"),
        (b"path," + b"x" * 200_000 + b"\n", r"manifest\.csv:1: not a row of CSV"),
        (b"path,title\na/1.png,One\na/1.png,Two\n", r"manifest\.csv:3"),
        (b"path,title\na/1.png,caf\xe9\n", "UTF-8"),
        (
            b"path,id\nb/1.png,X\n\nb/2.png,Y\na/1.png,X\n",
            r"manifest\.csv:5: ids must be unique; received 'X', which b/1\.png has already$",
        ),
        (b"path,id\na/1.png,A\nb/1.png,../X\n", r"manifest\.csv:3: .*no '/'.*'\.\./X'$"),
        (b"path,id\na/1.png," + b"x" * 129, r"manifest\.csv:2: an id has 1 to 128"),
        (b"path,id\na/1.png,.", r"manifest\.csv:2: .*received '\.'$"),
        (b"path,id\na/1.png,..", r"manifest\.csv:2: .*received '\.\.'$"),
    ],
)
def test_a_bad_manifest_is_said_with_its_place(root: Path, text: bytes, said: str) -> None:
    (root / "manifest.csv").write_bytes(text)
    with pytest.raises(BadInput, match=said):
        read_collection(root)


def test_every_row_with_an_unusable_id_is_named(
    root: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the manifest's order, whatever the order of the pictures."""
    (root / "manifest.csv").write_text(
        "path,id\nb/2.png,1/2\na/1.png,A\nb/1.png,A\na/deeper/2.png,..\n"
    )
    assert artkin.main(["check", str(root)]) == 2
    err = capsys.readouterr().err
    assert f"{root}/manifest.csv:2: an id has" in err
    assert err.endswith("received '1/2' (2 more: manifest.csv:4, manifest.csv:5)\n")
    for number in range(30):
        put(root / "c" / f"{number}.png", picture)
    rows = [f"c/{number}.png,{number}/0" for number in range(30)]
    (root / "manifest.csv").write_text("\n".join(["path,id", *rows]))
    with pytest.raises(BadInput, match=r"\(29 more: manifest\.csv:3, .*csv:22, \.\.\.\)$"):
        read_collection(root)


def test_an_id_that_a_path_gives_another_work_is_said(root: Path, picture: Path) -> None:
    taken = read_collection(root).works[3]
    (root / "manifest.csv").write_text(f"path,id\na/1.png,{taken.id}\n")
    with pytest.raises(BadInput, match=r"manifest\.csv:2: ids must be unique.* b/2\.png has"):
        read_collection(root)
    (root / "manifest.csv").unlink()
    for name in ("caf\u00e9.png", "cafe\u0301.png"):
        put(root / "a" / name, picture)
    with pytest.raises(BadInput, match=r"caf\u00e9\.png: ids must be unique.*cafe\u0301\.png"):
        read_collection(root)


def test_a_folder_that_is_not_there_or_holds_no_pictures_is_said(
    tmp_path: Path, picture: Path
) -> None:
    for path, said in ((tmp_path / "none", "must be a folder"), (picture, "must be a folder")):
        with pytest.raises(BadInput, match=said):
            read_collection(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no pictures"):
        read_collection(tmp_path / "empty")


def test_works_come_in_the_same_order_whatever_the_disk_says(root: Path) -> None:
    assert names(root) == sorted(names(root))


def test_a_manifest_that_disagrees_with_folders_counts_and_is_said(root: Path) -> None:
    (root / "manifest.csv").write_text("path,class\na/deeper/2.png,b\nb/1.png,b\n")
    found = read_collection(root)
    assert [work.label for work in found.works] == ["a", "b", "b", "b"]
    assert found.warnings == [
        "manifest.csv and folders disagree on the class of 1 works, the first a/deeper/2.png: b, "
        "folder a; manifest.csv counts"
    ]


def test_an_empty_class_is_said(tmp_path: Path, picture: Path) -> None:
    for name in ("train/a/deep/1.png", "train/b/2.png", "test/a/3.png"):
        put(tmp_path / "art" / name, picture)
    (tmp_path / "art" / "train" / "c" / "deep").mkdir(parents=True)
    (tmp_path / "art" / "test" / "b").mkdir()
    (tmp_path / "art" / "test" / ".hidden").mkdir()
    found = read_collection(tmp_path / "art")
    assert found.warnings == ["class folders without a picture: 2, the first train/c"]
