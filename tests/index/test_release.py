"""Releases: published by one switch, opened only when everything in them agrees."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from pathlib import Path

import faiss
import numpy as np
import pytest

import artkin
from index.release import CATALOGUE, DIFFERENCES, INDEX, THUMBNAILS, ReleaseManifest, open_release
from index.releases import CURRENT, current_release, new_release_id, release_ids, switch
from index.space.artefact import read_manifest, write_manifest
from index.space.errors import ArtefactError
from index.vectors import FaissVectors, write_index


@pytest.fixture
def releases(published: Path, tmp_path: Path) -> Path:
    """A copy of the published releases that a test may break."""
    return Path(shutil.copytree(published, tmp_path / "releases", symlinks=True))


def rewrite(folder: Path, **changes: object) -> None:
    """Write the manifest anew, as a builder with a fault would: every digest is right."""
    manifest = read_manifest(folder, ReleaseManifest, "release", "artkin index")
    write_manifest(folder, manifest.model_copy(update=changes))


def reseal(folder: Path) -> None:
    """Make the digests right again after a test has changed a file."""
    text = (folder / "manifest.json").read_text()
    write_manifest(folder, ReleaseManifest.model_validate_json(text))


def test_a_release_says_what_it_is(published: Path) -> None:
    folder = current_release(published)
    release = open_release(folder)
    assert release.id == folder.name
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", release.id)
    assert release.manifest.precision == "f32"
    assert release.manifest.dimension == release.vectors.dimension == 16
    assert {path.name for path in folder.iterdir()} == {
        *(INDEX, CATALOGUE, THUMBNAILS, DIFFERENCES),
        *("manifest.json", "manifest.sha256"),
    }
    release.close()


def test_the_link_is_relative_so_that_the_folder_can_be_moved(releases: Path) -> None:
    assert os.readlink(releases / CURRENT) == release_ids(releases)[0]
    moved = releases.rename(releases.with_name("moved"))
    open_release(current_release(moved)).close()


def test_ids_sort_by_time_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    ids = []
    for _ in range(3):
        ids.append(new_release_id(tmp_path))
        (tmp_path / ids[-1]).mkdir()
    assert ids == sorted(ids)
    (tmp_path / "20990101T000000Z-ffff-2").mkdir()
    assert new_release_id(tmp_path).startswith("20990101T000001Z-")


def test_unfinished_releases_are_not_listed(releases: Path) -> None:
    id_ = release_ids(releases)[0]
    (releases / f".{id_}.partial-7").mkdir()
    (releases / "notes").mkdir()
    assert release_ids(releases) == [id_]


def test_nothing_published_says_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nothing is published.*artkin publish"):
        current_release(tmp_path)


def test_a_published_release_that_is_gone_is_said(releases: Path) -> None:
    shutil.rmtree(current_release(releases))
    with pytest.raises(ArtefactError, match="which is gone"):
        current_release(releases)


def test_a_failed_switch_leaves_the_old_one(releases: Path) -> None:
    (releases / CURRENT).unlink()
    (releases / CURRENT).mkdir()
    (releases / CURRENT / "file").touch()
    with pytest.raises(OSError, match="directory"):
        switch(releases, "new")
    assert not [path for path in releases.iterdir() if path.name.startswith(".current")]


def break_count(folder: Path) -> None:
    rewrite(folder, works=23)


def break_dimension(folder: Path) -> None:
    rewrite(folder, dimension=17)


def break_id(folder: Path) -> None:
    rewrite(folder, id="20200101T000000Z-0000")


def break_canary(folder: Path) -> None:
    manifest = read_manifest(folder, ReleaseManifest, "release", "")
    canaries = [manifest.canaries[0].model_copy(update={"neighbours": ["nobody"] * 5})]
    rewrite(folder, canaries=canaries)


def shift_titles(folder: Path) -> None:
    """Every work gets its neighbour's vector: counts and digests are right, canaries are not."""
    vectors = FaissVectors.load(folder / INDEX)
    rows = np.arange(len(vectors))
    shifted = FaissVectors(vectors.dimension)
    shifted.add(vectors.get(np.roll(rows, 1)), rows)
    write_index(folder / INDEX, shifted.get(rows))
    reseal(folder)


def drop_a_vector(folder: Path) -> None:
    vectors = FaissVectors.load(folder / INDEX)
    vectors.delete(np.array([3]))
    faiss.write_index(vectors._index, str(folder / INDEX))
    reseal(folder)


def renumber_a_row(folder: Path) -> None:
    vectors = FaissVectors.load(folder / INDEX)
    last = vectors.get(np.array([23]))
    vectors.delete(np.array([23]))
    vectors.add(last, np.array([99]))
    faiss.write_index(vectors._index, str(folder / INDEX))
    reseal(folder)


def another_kind_of_index(folder: Path) -> None:
    faiss.write_index(faiss.IndexFlatL2(16), str(folder / INDEX))
    reseal(folder)


def drop_an_entry(folder: Path) -> None:
    with sqlite3.connect(folder / CATALOGUE) as connection:
        connection.execute("DELETE FROM works WHERE row = 3")
    reseal(folder)


def drop_a_thumbnail(folder: Path) -> None:
    with sqlite3.connect(folder / THUMBNAILS) as connection:
        connection.execute("DELETE FROM thumbnails WHERE row = 3")
    reseal(folder)


def remove_a_file(folder: Path) -> None:
    (folder / THUMBNAILS).unlink()
    reseal(folder)


BREAKS = {
    break_count: "same rows",
    break_dimension: "dimension",
    break_id: "its manifest says release",
    break_canary: "canary 0",
    shift_titles: "canary 0",
    drop_a_vector: "same rows",
    renumber_a_row: "same rows",
    another_kind_of_index: "IndexFlatL2",
    drop_an_entry: "same rows",
    drop_a_thumbnail: "same rows",
    remove_a_file: r"no digest of thumbnails\.sqlite",
}


@pytest.mark.parametrize(
    ("damage", "said"), BREAKS.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_what_does_not_agree_is_refused_although_every_digest_is_right(
    releases: Path, damage: object, said: str
) -> None:
    folder = current_release(releases)
    damage(folder)
    with pytest.raises(ArtefactError, match=said):
        open_release(folder)


def test_equal_works_may_change_places_in_a_canarys_answer(releases: Path) -> None:
    folder = current_release(releases)
    manifest = read_manifest(folder, ReleaseManifest, "release", "")
    canary = manifest.canaries[0]
    near = canary.model_copy(update={"scores": [score + 2e-6 for score in canary.scores]})
    rewrite(folder, canaries=[near])
    open_release(folder).close()


def publish(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = artkin.main(["publish", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_publishing_takes_the_newest_and_says_it(
    releases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = current_release(releases)
    new = "20990101T000000Z-0000"
    shutil.copytree(old, releases / new)
    rewrite(releases / new, id=new)
    assert publish(capsys, "--releases", releases) == (
        0,
        f"published: release {new}, 24 works, model tiny-1\n",
        "",
    )
    assert current_release(releases).name == new
    assert publish(capsys, old.name, "--releases", releases)[0] == 0
    assert current_release(releases) == old


def test_publishing_an_unknown_release_lists_those_there_are(
    releases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = release_ids(releases)[0]
    for unknown in ("nothing", "../releases", CURRENT):
        code, _, err = publish(capsys, unknown, "--releases", releases)
        assert code == 2
        assert f"the release must be one of {id_}; received {unknown!r}" in err


def test_publishing_from_an_empty_folder_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = publish(capsys, "--releases", tmp_path)
    assert code == 2
    assert "holds no release; make one with `artkin index" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["publish"], ["evaluate"], ["evaluate", "--release", "x"]])
def test_a_file_in_the_place_of_the_releases_is_said(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("mine")
    assert artkin.main([*arguments, "--releases", str(file)]) == 2
    said = f"--releases must be a folder; received {file}, which is a file; name another\n"
    assert capsys.readouterr().err.endswith(said)


def test_a_damaged_release_is_not_published_and_the_old_one_is_served_on(
    releases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = current_release(releases)
    new = "20990101T000000Z-0000"
    shutil.copytree(old, releases / new)
    data = bytearray((releases / new / INDEX).read_bytes())
    data[-100] ^= 1
    (releases / new / INDEX).write_bytes(data)
    code, out, err = publish(capsys, "--releases", releases)
    assert (code, out) == (2, "")
    assert "index.faiss is not the file that the manifest describes" in err
    assert current_release(releases) == old
