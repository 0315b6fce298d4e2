"""`artkin check`: what a collection is like before anything is done with it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

import artkin
from index.check import check
from index.collection import read_collection
from index.space.errors import BadInput
from tests.bad_pictures import photo
from tests.conftest import Painter, paint


@pytest.fixture
def messy(tmp_path: Path, painted_collection: Painter) -> Path:
    """Train and test with one of everything that `check` looks for."""
    root = tmp_path / "messy"
    painted_collection(root / "train", each=6, seed=1)
    painted_collection(root / "test", each=3, seed=2)
    shutil.copy(root / "train/cubism/cubism-0.png", root / "test/cubism/same.png")
    shutil.copy(root / "train/cubism/cubism-1.jpg", root / "train/cubism/twin.jpg")
    for number in range(12):
        photo(80 + number, 60).convert("L").save(root / f"train/baroque/grey-{number:02}.png")
    photo(40, 200).save(root / "train/baroque/narrow.png")
    (root / "train/cubism/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "train/cubism/.DS_Store").write_bytes(b"")
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = artkin.main(["check", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_it_describes_the_collection(messy: Path) -> None:
    found = check(read_collection(messy), size=64, quiet=True)
    sizes = {(c.split, c.label): c.works for c in found.classes}
    assert sizes == {
        ("train", "baroque"): 19,
        ("train", "cubism"): 7,
        ("train", "ukiyo_e"): 6,
        ("test", "baroque"): 3,
        ("test", "cubism"): 4,
        ("test", "ukiyo_e"): 3,
    }
    assert found.works == 42
    assert [(f.name, f.reason) for f in found.bad] == [("train/cubism/broken.jpg", "image-corrupt")]
    assert found.left_out == {"hidden or system file": 1}
    assert found.greyscale == [f"train/baroque/grey-{n:02}.png" for n in range(12)]
    assert "train/baroque/narrow.png" in found.enlarged
    assert "train/cubism/cubism-0.png" not in found.enlarged
    assert found.in_both_splits == [["test/cubism/same.png", "train/cubism/cubism-0.png"]]
    assert {(c.split, c.label) for c in found.small_classes} == {
        ("test", "baroque"),
        ("test", "cubism"),
        ("test", "ukiyo_e"),
    }
    assert found.imbalance == pytest.approx(22 / 9)


def test_the_console_names_the_first_ten_and_says_how_to_see_all(
    messy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, messy, "--size", 64)
    assert (code, err) == (0, "")
    assert "black-and-white: 12" in out
    assert "grey-09.png" in out
    assert "grey-10.png" not in out
    assert "and 2 more, --json names all" in out
    assert "unusable: 1\n  train/cubism/broken.jpg: image-corrupt: cannot be decoded" in out
    assert out.count("usable") == 2  # 42 usable, 1 unusable: each said once
    assert "smaller than the model's 64 pixels, enlarged: 13\n" in out
    assert "none: " not in out
    assert "test/cubism/same.png = train/cubism/cubism-0.png" in out
    assert "test/ukiyo_e: 3" in out


def test_what_there_is_none_of_takes_one_line(
    tmp_path: Path, painted_collection: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, painted_collection(tmp_path / "tidy", each=6), "--size", 64)
    assert (code, err) == (0, "")
    assert out.split("\n")[-4:] == [
        "18 usable pictures",
        "none: unusable; black-and-white; smaller than the model's 64 pixels, enlarged; identical "
        "in train and test; classes of fewer than 6 works, which cannot reach Precision@5 = 1",
        "largest class / smallest class: 1.0",
        "",
    ]


def test_what_training_would_refuse_is_said(
    tmp_path: Path, painted_collection: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    one = painted_collection(tmp_path / "one", each=6, styles=("cubism",))
    assert "training would refuse it: 1 classes to train on, 2 are needed" in run(capsys, one)[1]
    single = painted_collection(tmp_path / "single" / "train", each=6)
    for path in sorted((single / "baroque").iterdir())[1:]:
        path.unlink()
    painted_collection(tmp_path / "single" / "test", each=1, seed=1)
    out = run(capsys, tmp_path / "single")[1]
    assert "refuse it: train/baroque has a single picture, a class needs 2" in out
    assert out.count("training would refuse it") == 1


def test_pictures_are_held_against_the_size_that_training_takes(
    collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.presets import load_preset
    from training.train import add_arguments

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    size = load_preset(parser.get_default("preset")).size
    code, out, _ = run(capsys, collection)
    assert code == 0
    assert f"smaller than the model's {size} pixels, enlarged: 24" in out


def test_json_names_all_and_is_nothing_but_json(
    messy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, messy, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert len(document["greyscale"]) == 12
    assert document["size"] == 224
    assert document["bad"][0]["reason"] == "image-corrupt"
    assert document["classes"][0] == {"split": "test", "label": "baroque", "works": 3}


def test_a_collection_without_classes_is_fine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paint("cubism", 1).save(tmp_path / "1.png")
    code, out, _ = run(capsys, tmp_path)
    assert code == 0
    assert "(no class)" in out
    assert check(read_collection(tmp_path), quiet=True).imbalance is None


def test_nothing_usable_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1.jpg").write_bytes(b"")
    code, _, err = run(capsys, tmp_path)
    assert code == 2
    assert "none of the 1 pictures" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("size", [31, 1025])
def test_a_size_no_model_has_is_refused(size: int, collection: Path) -> None:
    with pytest.raises(BadInput, match="--size must be from 32 to 1024"):
        check(read_collection(collection), size)
