"""A release packed to one file and restored on an empty machine answers the same."""

from __future__ import annotations

import io
import shutil
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import artkin
from index.catalogue import Catalogue
from index.changes import CHANGES, Changes, read_changes
from index.gate import kept
from index.release import CATALOGUE, open_release
from index.releases import current_id, current_release
from index.space.artefact import MANIFEST
from index.space.model import load_model


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = artkin.main(list(map(str, arguments)))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def packed(
    tmp_path: Path, published: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> Path:
    target = tmp_path / "art.tar"
    code, out, err = run(
        capsys, "pack", "--model", tiny_model, "--releases", published, "--to", target
    )
    assert (code, err) == (0, "")
    assert f"packed: release {current_id(published)} in {target}" in out
    return target


def test_restored_on_an_empty_machine_it_answers_the_same(
    packed: Path, published: Path, tiny_model: Path, tmp_path: Path, capsys
) -> None:
    place = ("--models", tmp_path / "new" / "models", "--releases", tmp_path / "new" / "releases")
    code, out, err = run(capsys, "restore", packed, *place)
    assert (code, err) == (0, "")
    assert f"artkin serve --model {place[1]}/tiny-1 --releases {place[3]}" in out
    assert load_model(place[1] / "tiny-1").digest == load_model(tiny_model).digest
    one, other = (open_release(current_release(folder)) for folder in (published, place[3]))
    assert one.manifest == other.manifest
    assert list(one.catalogue.entries()) == list(other.catalogue.entries())
    rows = np.arange(len(one.vectors))
    queries = one.vectors.get(rows)
    assert np.array_equal(queries, other.vectors.get(rows))
    for found, again in zip(
        one.vectors.search(queries, 5), other.vectors.search(queries, 5), strict=True
    ):
        assert np.array_equal(found, again)
    one.close()
    other.close()
    # The gate's verdict is there too, and is listed.
    verdict = kept(place[3], other.id)
    assert verdict is not None
    assert verdict == kept(published, one.id)
    # Again beside it: the model is there, the release must not be.
    code, _, err = run(capsys, "restore", packed, *place)
    assert code == 2
    assert f"it has {current_id(published)}; remove it first" in err
    assert not list(place[3].glob(".restore*"))
    shutil.rmtree(current_release(place[3]))
    assert run(capsys, "restore", packed, *place)[0] == 0


def test_what_was_taken_down_stays_down_where_it_is_restored(
    collection: Path, tiny_model: Path, tmp_path: Path, capsys
) -> None:
    def places(name: str) -> tuple[object, ...]:
        return "--releases", tmp_path / name / "releases", "--state", tmp_path / name / "state"

    old, new = places("old"), places("new")
    run(capsys, "rebuild", collection, "--model", tiny_model, *old)
    with closing(Catalogue(current_release(old[1]) / CATALOGUE)) as catalogue:
        gone, other = [entry.id for entry in catalogue.entries()][:2]
    assert run(capsys, "remove", gone, "--reason", "by wish", *old)[0] == 0
    packed = tmp_path / "art.tar"
    assert run(capsys, "pack", "--model", tiny_model, *old, "--to", packed)[0] == 0
    # Of a work taken down here as well, what is known here counts.
    with closing(Changes(tmp_path / "new" / "state" / CHANGES)) as changes:
        changes.remove(other, "before")
    models = ("--models", tmp_path / "new" / "models")
    assert run(capsys, "restore", packed, *models, *new)[0] == 0
    assert run(capsys, "rebuild", collection, "--model", tiny_model, *new)[0] == 0
    with closing(Catalogue(current_release(new[1]) / CATALOGUE)) as catalogue:
        assert catalogue.by_id(gone) is None
        assert catalogue.by_id(other) is None
    before, after = (
        {change.id: (change.kind, change.time, change.reason, change.sha256)
         for change in read_changes(Path(str(place[3])) / CHANGES)}
        for place in (old, new)
    )  # fmt: skip
    assert after[gone] == before[gone]
    assert after[other][2] == "before"


def test_what_cannot_be_restored_is_said_and_nothing_is_kept(
    packed: Path, tmp_path: Path, capsys
) -> None:
    data = bytearray(packed.read_bytes())
    at = data.index(b"index.faiss") + 5000
    data[at] ^= 1
    (tmp_path / "flipped.tar").write_bytes(data)
    (tmp_path / "cut.tar").write_bytes(packed.read_bytes()[:-200_000])
    (tmp_path / "text.tar").write_text("no tar")
    with tarfile.open(tmp_path / "outside.tar", "w") as file:
        file.addfile(tarfile.TarInfo("../outside"), io.BytesIO(b""))
    with tarfile.open(tmp_path / "link.tar", "w") as file:
        link = tarfile.TarInfo("models")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        file.addfile(link)
    tarfile.open(tmp_path / "empty.tar", "w").close()
    shutil.copy(packed, tmp_path / "verdict.tar")
    with tarfile.open(tmp_path / "verdict.tar", "a") as file:
        name = next(name for name in file.getnames() if name.startswith("gates/"))
        file.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    names = ("removed", "verdict", "flipped", "cut", "text", "outside", "link", "empty", "none")
    with tarfile.open(packed) as whole, tarfile.open(tmp_path / "removed.tar", "w") as file:
        for member in whole:
            if member.name != "removed.jsonl":
                file.addfile(member, whole.extractfile(member))
        line = tarfile.TarInfo("removed.jsonl")
        line.size = 11
        file.addfile(line, io.BytesIO(b'{"id": [1]}'))
    for name in names:
        place = ("--models", tmp_path / "models", "--releases", tmp_path / "releases")
        code, _, err = run(capsys, "restore", tmp_path / f"{name}.tar", *place)
        assert code == 2, name
        assert err.startswith("artkin restore: error: "), name
        assert err.count("\n") == 1, name
        assert ("works taken down must be JSON lines" in err) == (name == "removed")
        assert not (tmp_path / "models").exists(), name
        assert [path.name for path in (tmp_path / "releases").iterdir()] == [".lock"], name
    assert not (tmp_path / "outside").exists()


def test_another_model_of_the_name_is_not_replaced(
    packed: Path, tiny_model: Path, tmp_path: Path, capsys
) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "models" / "tiny-1"))
    (other / "seen_works.txt").write_text("")
    from index.space.artefact import write_manifest

    write_manifest(other, load_model(tiny_model).manifest)
    before = (other / MANIFEST).read_bytes()
    place = ("--models", tmp_path / "models", "--releases", tmp_path / "releases")
    code, _, err = run(capsys, "restore", packed, *place)
    assert code == 2
    assert "is another of its name" in err
    assert (other / MANIFEST).read_bytes() == before


def test_an_existing_file_is_not_overwritten(
    packed: Path, published: Path, tiny_model: Path, capsys
) -> None:
    before = packed.read_bytes()
    code, _, err = run(
        capsys, "pack", "--model", tiny_model, "--releases", published, "--to", packed
    )
    assert (code, packed.read_bytes()) == (2, before)
    assert "--to must not exist yet" in err
