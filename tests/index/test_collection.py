"""One reading of folders: classes, splits, what is left out and why, and the owner's manifest."""

from __future__ import annotations

import gc
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

import artkin
from index.collection import read_collection
from index.space.errors import BadInput, BadRows
from tests.index.conftest import put


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


def test_empty_class_folders_are_no_classes(root: Path) -> None:
    (root / "empty").mkdir()
    assert {work.label for work in read_collection(root).works} == {"a", "b"}


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


def test_rows_without_a_picture_are_warned_of_unless_they_were_excluded(root: Path) -> None:
    (root / "manifest.csv").write_text("path,title\na/1.png,One\na/99.png,Lost\n")
    found = read_collection(root)
    assert found.without_file == [f"{root}/manifest.csv:3: no picture 'a/99.png'"]
    assert found.warnings == [
        f"rows without a file: 1: {root}/manifest.csv:3: no picture 'a/99.png'"
    ]
    assert len(read_collection(root, exclude=["a/1.png"]).warnings) == 1
    assert read_collection(root, exclude=["a/99.png"]).warnings == []


@pytest.mark.parametrize(
    ("text", "said"), [("file;title\nb/1.png;One\n", "'file', 'title'"), ("", "none")]
)
def test_a_table_without_paths_is_another_programs_unless_it_was_named(
    root: Path, text: str, said: str
) -> None:
    (root / "manifest.csv").write_text(text)
    found = read_collection(root)
    assert found.warnings == [
        f"not used: {root}/manifest.csv:1: a manifest needs a column 'path'; received {said}"
    ]
    assert len(found.works) == 4
    with pytest.raises(BadRows, match=f"a column 'path'; received {said}$"):
        read_collection(root, manifest=root / "manifest.csv")


def test_a_row_whose_file_is_there_but_left_out_says_so(root: Path) -> None:
    (root / "a" / "readme.txt").write_text("hello")
    (root / "manifest.csv").write_text("path\na/1.png\na/readme.txt\n")
    (said,) = read_collection(root).without_file
    assert said.endswith("manifest.csv:3: no picture 'a/readme.txt', which is there but left out")


def test_a_manifest_most_of_whose_files_are_not_there_is_refused(root: Path) -> None:
    """The wrong folder, or a disk that is not mounted."""
    (root / "manifest.csv").write_text("path\na/1.png\nb/8.png\nb/9.png\n")
    with pytest.raises(BadRows, match="2 of 3 have none") as refused:
        read_collection(root)
    assert [line.rpartition(": ")[2] for line in refused.value.problems[1:]] == [
        "no picture 'b/8.png'",
        "no picture 'b/9.png'",
    ]


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
    for line, said in ((4, "received 'A', which a/1.png has already; "), (5, "received '..'\n")):
        assert f"{root}/manifest.csv:{line}: " in err
        assert said in err
    assert err.count("\n") == 1
    for number in range(30):
        put(root / "c" / f"{number}.png", picture)
    rows = [f"c/{number}.png,{number}/0" for number in range(30)]
    (root / "manifest.csv").write_text("\n".join(["path,id", *rows]))
    said = r"csv:2: .*csv:21: .*; and 10 more, which artkin check --json names$"
    with pytest.raises(BadRows, match=said) as refused:
        read_collection(root)
    assert len(refused.value.problems) == 30


def test_an_id_that_a_path_gives_another_work_is_said(root: Path, picture: Path) -> None:
    taken = read_collection(root).works[3]
    (root / "manifest.csv").write_text(f"path,id\na/1.png,{taken.id}\n")
    with pytest.raises(BadInput, match=r"manifest\.csv:2: ids must be unique.* b/2\.png has"):
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


def test_several_folders_are_one_collection(root: Path, tmp_path: Path, picture: Path) -> None:
    """Names begin with the folder's, classes are those below it, one manifest lies in each."""
    for name in ("train/c/1.png", "a/1.png"):
        put(tmp_path / "other" / name, picture)
    (root / "manifest.csv").write_text("path,id,title\na/1.png,A-1,One\n")
    (tmp_path / "other" / "manifest.jsonl").write_text('{"path": "a/1.png", "title": "Two"}\n')
    works = {work.name: work for work in read_collection([root, tmp_path / "other"]).works}
    assert [(name, work.split, work.label) for name, work in works.items()] == [
        ("collection/a/1.png", None, "a"),
        ("collection/a/deeper/2.png", None, "a"),
        ("collection/b/1.png", None, "b"),
        ("collection/b/2.png", None, "b"),
        ("other/a/1.png", None, "a"),
        ("other/train/c/1.png", "train", "c"),
    ]
    assert works["collection/a/1.png"].id == "A-1"
    assert works["other/a/1.png"].metadata == {"title": "Two"}
    assert works["other/a/1.png"].path == tmp_path / "other" / "a" / "1.png"
    assert len({work.id for work in works.values()}) == 6
    assert names([root, tmp_path / "other"], exclude=["other/a/*", "*/b/*"]) == [
        "collection/a/1.png",
        "collection/a/deeper/2.png",
        "other/train/c/1.png",
    ]


def test_a_file_below_two_folders_counts_once(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "twice.png").symlink_to(root / "b" / "2.png")
    assert names([tmp_path / "other", root])[0] == "other/twice.png"
    assert "collection/b/2.png" not in names([tmp_path / "other", root])


def test_folders_that_would_share_names_or_works_are_refused(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    for others in ([root / "a"], [root], [linked], [root.parent]):
        with pytest.raises(BadInput, match="may be inside another"):
            read_collection([root, *others])
    twin = tmp_path / "twin" / "collection"
    twin.mkdir(parents=True)
    with pytest.raises(BadInput, match=r"names of their own.*twin/collection$"):
        read_collection([root, twin])
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadInput, match=r"/bare holds no pictures"):
        read_collection([root, tmp_path / "bare"])


def test_a_manifest_elsewhere_names_paths_inside_or_absolute(root: Path, tmp_path: Path) -> None:
    (root / "manifest.csv").write_text("path,title\na/1.png,Not asked\n")
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    rows = ["path,title", "./a//1.png,One", f"{root}/b/1.png,Two", "b\\2.png,Three"]
    for given, prefix in ((root, ""), (linked, "")):
        (tmp_path / "list.CSV").write_text("\n".join(rows))
        found = read_collection(given, manifest=tmp_path / "list.CSV")
        titles = {work.name: work.metadata.get("title") for work in found.works}
        assert titles == {
            f"{prefix}a/1.png": "One",
            f"{prefix}a/deeper/2.png": None,
            f"{prefix}b/1.png": "Two",
            f"{prefix}b/2.png": "Three",
        }
    for missing, said in (("none.csv", "must be a file"), ("list.txt", "must end in")):
        with pytest.raises(BadInput, match=said):
            read_collection(root, manifest=tmp_path / missing)


def test_two_manifests_in_one_folder_and_one_that_is_a_broken_link_are_refused(root: Path) -> None:
    (root / "manifest.jsonl").symlink_to(root / "gone.jsonl")
    with pytest.raises(BadInput, match="must be a file"):
        read_collection(root)
    (root / "manifest.csv").write_text("path\na/1.png\n")
    with pytest.raises(BadInput, match=r"one manifest; it has manifest\.csv, manifest\.jsonl"):
        read_collection(root)


def test_an_id_is_the_same_on_a_system_that_decomposes_accents(root: Path, picture: Path) -> None:
    """SHA-256 of the composed name, its first 16 digits: by coreutils' sha256sum."""
    put(root / "a" / "cafe\u0301.png", picture)
    (work,) = (work for work in read_collection(root).works if "caf" in work.name)
    assert work.id == "8444564a07f585fa"
    os.rename(work.path, root / "a" / "caf\u00e9.png")
    assert work.id in {work.id for work in read_collection(root).works}


def test_names_that_differ_only_in_how_accents_are_written_are_two_works(
    root: Path, picture: Path
) -> None:
    put(root / "a" / "cafe\u0301.png", picture)
    (before,) = (work for work in read_collection(root).works if "caf" in work.name)
    put(root / "a" / "caf\u00e9.png", picture)
    (root / "manifest.csv").write_text(
        "path,title\na/caf\u00e9.png,Composed\na/cafe\u0301.png,Decomposed\n", encoding="utf-8"
    )
    found = read_collection(root)
    twins = {work.metadata["title"]: work for work in found.works if work.metadata}
    assert twins["Composed"].name == "a/caf\u00e9.png"
    assert twins["Decomposed"].name == "a/cafe\u0301.png"
    assert before.id == twins["Composed"].id != twins["Decomposed"].id
    assert found.warnings[0].startswith("names that differ only in how accents are written: 2, ")


def test_names_that_differ_in_case_are_two_works(root: Path, picture: Path) -> None:
    put(root / "A" / "1.PNG", picture)
    works = {work.name: work for work in read_collection(root).works}
    assert works["A/1.PNG"].id != works["a/1.png"].id
    assert (works["A/1.PNG"].label, works["a/1.png"].label) == ("A", "a")


def test_a_manifest_names_a_file_that_is_not_utf8_as_it_is_printed(
    root: Path, picture: Path
) -> None:
    shutil.copy(picture, os.path.join(os.fsencode(root), b"a", b"caf\xe9.png"))
    (root / "manifest.csv").write_text("path,title\na/caf\\xe9.png,Caf\n")
    (work,) = (work for work in read_collection(root).works if work.metadata)
    assert os.fsencode(work.path).endswith(b"caf\xe9.png")


def test_a_work_takes_few_bytes(tmp_path: Path) -> None:
    """A job holds tens of thousands of them; 300 measured."""
    count = 2000
    for number in range(count):
        folder = tmp_path / "train" / f"class {number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"a-painter_the-title-of-a-work_{number}.jpg").touch()
    read_collection(tmp_path)  # what is imported for the first time is no work's
    gc.collect()
    tracemalloc.start()
    collection = read_collection(tmp_path)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(collection.works) == count
    assert taken / count < 500
