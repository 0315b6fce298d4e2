from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from index.collection import read_collection
from index.space.errors import BadInput
from index.space.picture_limits import COLLECTION_LIMITS
from index.space.preprocessing import Preprocessing, decode, to_pixels
from training.dataset import prepare_dataset
from training.presets import load_preset
from training.train import train


def prepare(root, folder, size=64):
    return prepare_dataset(read_collection(root), size, folder)


def test_pixels_are_those_of_serving_and_rows_keep_their_names(tmp_path, painted_collection):
    root = painted_collection(tmp_path / "art", each=8)
    (root / "baroque" / "baroque-3.jpg").write_bytes(b"<html>not a picture</html>")
    dataset = prepare(root, tmp_path / "run")
    assert len(dataset.names) == 23
    spec = Preprocessing(height=64, width=64)
    for row, name in enumerate(dataset.names):
        expected = to_pixels(decode((root / name).read_bytes(), COLLECTION_LIMITS), spec)
        np.testing.assert_array_equal(dataset.pixels[row], expected)
        assert dataset.classes[dataset.labels[row]] == name.split("/")[0]


def test_a_bad_picture_is_named_with_its_reason(tmp_path, painted_collection, capsys):
    root = painted_collection(tmp_path / "art", each=8)
    whole = (root / "baroque" / "baroque-3.jpg").read_bytes()
    (root / "baroque" / "baroque-3.jpg").write_bytes(whole[: len(whole) // 2])
    prepare(root, tmp_path / "run")
    said = capsys.readouterr().out
    assert "skipped baroque/baroque-3.jpg" in said
    assert "image-corrupt" in said


def test_the_split_is_by_class_disjoint_and_fixed(tmp_path, painted_collection):
    root = painted_collection(tmp_path / "art", each=40)
    one, same = (prepare(root, tmp_path / name) for name in ("a", "b"))
    for label in range(3):
        sizes = {part: int((one.labels[rows] == label).sum()) for part, rows in one.parts.items()}
        assert sizes == {"test": 6, "validation": 6, "train": 28, "unused": 0}
    assert Counter(np.concatenate(list(one.parts.values())).tolist()).most_common(1)[0][1] == 1
    for part in one.parts:
        np.testing.assert_array_equal(one.parts[part], same.parts[part])


def test_the_test_folder_is_the_test_part(tmp_path, painted_collection):
    painted_collection(tmp_path / "art" / "train", each=12, seed=1)
    painted_collection(tmp_path / "art" / "test", each=5, seed=2)
    dataset = prepare(tmp_path / "art", tmp_path / "run")
    tested = {dataset.names[row] for row in dataset.parts["test"]}
    assert tested == {name for name in dataset.names if name.startswith("test/")}
    assert len(tested) == 15


def test_a_test_class_that_is_not_trained_on_is_not_used(tmp_path, painted_collection):
    painted_collection(tmp_path / "art" / "train", each=4, styles=("cubism", "baroque"))
    painted_collection(tmp_path / "art" / "test", each=4, seed=1)
    dataset = prepare(tmp_path / "art", tmp_path / "run")
    assert dataset.classes == ["baroque", "cubism"]
    assert {dataset.names[row].split("/")[1] for row in dataset.parts["unused"]} == {"ukiyo_e"}


@pytest.mark.parametrize("each", [3, 4])
def test_small_classes_keep_a_training_picture(tmp_path, painted_collection, each):
    dataset = prepare(painted_collection(tmp_path / "art", each=each), tmp_path / "run")
    for label in range(3):
        assert (dataset.labels[dataset.parts["train"]] == label).sum() >= 1
        assert (dataset.labels[dataset.parts["validation"]] == label).sum() >= 1


def test_no_works_to_test_on_are_refused(tmp_path, painted_collection):
    with pytest.raises(BadInput, match="needs test works"):
        prepare(painted_collection(tmp_path / "art", each=2), tmp_path / "run")


def test_one_class_and_a_class_of_one_are_refused(tmp_path, painted_collection):
    one = painted_collection(tmp_path / "one", styles=("cubism",))
    with pytest.raises(BadInput, match="two class folders with pictures; received cubism"):
        prepare(one, tmp_path / "a")
    single = painted_collection(tmp_path / "single", each=4)
    for path in list((single / "baroque").iterdir())[1:]:
        path.unlink()
    with pytest.raises(BadInput, match="baroque has 1"):
        prepare(single, tmp_path / "b")


def test_a_collection_of_test_works_alone_is_told_what_is_missing(tmp_path, painted_collection):
    painted_collection(tmp_path / "art" / "test", each=4)
    with pytest.raises(BadInput, match="put the pictures to train on into train/"):
        prepare(tmp_path / "art", tmp_path / "run")


def test_copies_of_training_pictures_measure_nothing(tmp_path, painted_collection, capsys):
    """Two test works are copies under other names; a test part of copies alone is refused."""
    root = tmp_path / "art"
    train, test = root / "train", root / "test"
    painted_collection(train, each=12, seed=1)
    painted_collection(test, each=5, seed=2)
    straight = prepare(root, tmp_path / "straight")
    trained = straight.names[straight.parts["train"][0]]
    (test / "baroque" / "copy.jpg").write_bytes((root / trained).read_bytes())
    with Image.open(root / straight.names[straight.parts["train"][1]]) as picture:
        picture.convert("RGB").save(test / "baroque" / "scan.jpg", quality=40)  # other bytes
    dataset = prepare(root, tmp_path / "run")
    unused = [dataset.names[row] for row in dataset.parts["unused"]]
    assert unused == ["test/baroque/copy.jpg", "test/baroque/scan.jpg"]
    assert len(dataset.parts["test"]) == 15
    assert "left out of test: 2 copies of pictures that are trained on" in capsys.readouterr().out
    assert dataset.facts["copies"] == {"validation": 0, "test": 2}


def test_no_epoch_is_chosen_by_a_picture_that_is_tested_with(tmp_path, painted_collection, capsys):
    root = tmp_path / "art"
    painted_collection(root / "train", each=12, seed=1)
    painted_collection(root / "test", each=5, seed=2)
    straight = prepare(root, tmp_path / "straight")
    for row in straight.parts["validation"][:2]:
        with Image.open(root / straight.names[row]) as picture:
            picture.convert("RGB").save(root / "test" / "baroque" / f"scan-{row}.jpg", quality=40)
    dataset = prepare(root, tmp_path / "run")
    unused = {dataset.names[row] for row in dataset.parts["unused"]}
    assert unused == {straight.names[row] for row in straight.parts["validation"][:2]}
    assert dataset.facts["copies"] == {"validation": 2, "test": 0}
    assert "left out of validation: 2 copies of pictures" in capsys.readouterr().out


def test_without_a_work_to_validate_training_is_refused(tmp_path, painted_collection):
    root = tmp_path / "art"
    painted_collection(root / "test", each=3, seed=2)
    for style in ("baroque", "cubism"):
        painted_collection(root / "train", each=1, styles=[style], seed=1)
        (only,) = (root / "train" / style).iterdir()
        (only.parent / f"twin{only.suffix}").write_bytes(only.read_bytes())
    with pytest.raises(BadInput, match="to choose its best epoch by"):
        prepare(root, tmp_path / "run")


def test_different_things_on_a_plain_ground_are_no_copies(tmp_path):
    """Twenty coins a class, as coins are photographed: none leaves its part."""
    rng = np.random.default_rng(0)
    for name in ("obverse", "reverse"):
        (tmp_path / "art" / name).mkdir(parents=True)
        for number in range(20):
            coin = Image.fromarray(rng.integers(60, 200, (9, 9, 3), np.uint8)).resize((112, 112))
            disc = Image.new("L", coin.size, 0)
            ImageDraw.Draw(disc).ellipse((0, 0, 112, 112), fill=255)
            picture = Image.new("RGB", (224, 224), "white")
            picture.paste(coin, (56, 56), disc)
            picture.save(tmp_path / "art" / name / f"{number}.jpg", quality=90)
    dataset = prepare(tmp_path / "art", tmp_path / "run")
    assert dataset.facts["copies"] == {"validation": 0, "test": 0}
    assert len(set(dataset.same)) == 40


def test_what_the_report_says_of_the_pictures(tmp_path, painted_collection):
    """36 pictures of 96 x 80, one of them grey, and one that is none."""
    root = painted_collection(tmp_path / "art", each=12)
    grey = sorted((root / "cubism").iterdir())[0]
    with Image.open(grey) as picture:
        picture.convert("L").save(grey)
    (root / "baroque" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    facts = prepare(root, tmp_path / "run", size=90).facts
    assert (facts["pictures"], facts["grey"], facts["enlarged"]) == (36, 1, 36)
    assert [bad["name"] for bad in facts["unreadable"]] == ["baroque/broken.png"]
    assert facts["by_class"]["cubism"] == {"train": 8, "validation": 2, "test": 2}


def test_a_failed_start_leaves_nothing(tmp_path, painted_collection):
    root = painted_collection(tmp_path / "art", each=2)  # too few to test on
    with pytest.raises(BadInput, match="needs test works"):
        train(root, load_preset("seed", size=64), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path, painted_collection):
    root = painted_collection(tmp_path / "art", each=4)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"must be a folder to work in; received .*which is a file"):
        train(root, load_preset("seed", size=64), tmp_path / "file")
    with pytest.raises(BadInput, match="cannot be made"):
        train(root, load_preset("seed", size=64), tmp_path / "file" / "run")


def test_the_weights_are_looked_for_before_any_picture_is_read(
    tmp_path, painted_collection, capsys
):
    root = painted_collection(tmp_path / "art", each=4)
    with pytest.raises(BadInput, match="--weights must be a file"):
        train(root, load_preset("seed", "b0"), tmp_path / "run", weights=tmp_path / "none.h5")
    assert capsys.readouterr().out == ""


def test_a_collection_of_unusable_pictures_is_told_so(tmp_path, painted_collection):
    root = painted_collection(tmp_path / "art", each=4)
    for path in root.rglob("*.*"):
        path.write_bytes(b"no picture")
    with pytest.raises(BadInput, match="none of the 12 pictures can be used"):
        train(root, load_preset("seed", size=64), tmp_path / "run")
    assert not (tmp_path / "run").exists()
