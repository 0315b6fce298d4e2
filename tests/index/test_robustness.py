"""Perturbations do what they say; same-work recall@1 of cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from index.looks import colour_histogram, copies, copy_sketch, looked_at
from index.perturbations import PERTURBATIONS
from index.robustness import same_work_recall
from index.space.errors import BadInput, ImageRejected
from tests.conftest import STYLES, paint

PICTURES = [paint(style, seed) for style in STYLES for seed in range(3)]


def tiny_picture_vectors(images: list[Image.Image]) -> np.ndarray:
    """A stand-in for a model: the picture at 8 x 8, centred, unit norm."""
    rows = []
    for image in images:
        values = np.asarray(image.resize((8, 8)), np.float32).ravel()
        rows.append((values - values.mean()) / np.linalg.norm(values - values.mean()))
    return np.stack(rows)


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("size", [(96, 80), (1, 40), (300, 1), (2, 2)])
def test_perturbations_are_pure_and_change_the_picture(name: str, size: tuple[int, int]) -> None:
    image = paint("cubism", 1).resize(size)
    before = image.tobytes()
    changed = PERTURBATIONS[name](image)
    assert changed.mode == "RGB"
    assert min(changed.size) >= 1
    assert changed.tobytes() == PERTURBATIONS[name](image).tobytes()
    assert image.tobytes() == before
    if size == (96, 80):
        assert changed.tobytes() != before


def test_the_set_is_the_one_promised() -> None:
    assert list(PERTURBATIONS) == [
        *("crop", "jpeg", "blur", "greyscale", "rotation", "wall", "frame", "white_balance"),
    ]


def test_a_crop_keeps_four_fifths_of_each_side() -> None:
    ramp = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (50, 1))).convert("RGB")
    changed = np.asarray(PERTURBATIONS["crop"](ramp))
    assert changed.shape == (40, 80, 3)
    assert (changed[0, 0, 0], changed[0, -1, 0]) == (12, 91)


def test_a_wall_is_seen_at_the_corners_and_light_falls_off() -> None:
    plain = Image.new("RGB", (200, 100), (100, 100, 100))
    seen = np.asarray(PERTURBATIONS["wall"](plain)).astype(int)
    assert seen[2, 2].tolist() == pytest.approx([205 * 1.145, 200 * 1.145, 190 * 1.145], abs=3)
    assert seen[20, 30, 0] > seen[50, 100, 0] > seen[80, 170, 0]
    assert seen[50, 100, 0] == pytest.approx(90, abs=2)


def test_white_balance_and_frame_are_as_stated() -> None:
    plain = Image.new("RGB", (100, 50), (100, 100, 100))
    assert PERTURBATIONS["white_balance"](plain).getpixel((5, 5)) == (115, 100, 75)
    framed = PERTURBATIONS["frame"](plain)
    assert framed.size == (120, 70)
    assert framed.getpixel((7, 7)) == (92, 64, 38)
    assert framed.getpixel((9, 9)) == (196, 164, 92)
    assert framed.getpixel((10, 10)) == (100, 100, 100)


def test_every_work_finds_itself_and_a_foreign_gallery_is_no_help() -> None:
    gallery = tiny_picture_vectors(PICTURES)
    found = same_work_recall(PICTURES, tiny_picture_vectors, gallery, range(9))
    assert (found.works, found.gallery) == (9, 9)
    assert found.by_perturbation["unchanged"].value == 1.0
    assert found.by_perturbation["jpeg"].value == 1.0
    eight = [mean.value for name, mean in found.by_perturbation.items() if name != "unchanged"]
    assert len(eight) == 8
    assert found.recall.value == pytest.approx(np.mean(eight))
    assert found.recall.low <= found.recall.value <= found.recall.high
    wrong = same_work_recall(PICTURES, tiny_picture_vectors, gallery, [*range(1, 9), 0])
    assert wrong.by_perturbation["unchanged"].value == 0.0


def test_a_model_that_gives_everything_one_vector_finds_nothing() -> None:
    one = np.zeros((9, 4), np.float32)
    one[:, 0] = 1
    found = same_work_recall(PICTURES, lambda images: one[: len(images)], one, range(9))
    assert found.recall.value == 0.0
    assert found.by_perturbation["unchanged"].value == 0.0


@pytest.mark.parametrize("files", [1, 3])
def test_of_a_single_work_nothing_is_said(files: int) -> None:
    """Whatever its vectors, it would come first."""
    gallery = tiny_picture_vectors([PICTURES[0]] * files)
    alone = same_work_recall([PICTURES[0]], tiny_picture_vectors, gallery, [0], ["x"] * files)
    assert alone.recall.value is None
    assert {mean.value for mean in alone.by_perturbation.values()} == {None}


def test_equal_files_are_one_work() -> None:
    gallery = tiny_picture_vectors([PICTURES[0], PICTURES[0], PICTURES[1]])
    apart = same_work_recall([PICTURES[0]], tiny_picture_vectors, gallery, [1])
    assert apart.by_perturbation["unchanged"].value == 0.0
    one = same_work_recall([PICTURES[0]], tiny_picture_vectors, gallery, [1], ["x", "x", "y"])
    assert one.by_perturbation["unchanged"].value == 1.0
    assert one.recall.low is None


def test_a_refused_picture_is_not_found() -> None:
    def encode(images: list[Image.Image]) -> np.ndarray:
        if any(image.size != (96, 80) for image in images):
            raise ImageRejected("blank-image", "no")
        return tiny_picture_vectors(images)

    gallery = tiny_picture_vectors(PICTURES)
    found = same_work_recall(PICTURES, encode, gallery, range(9)).by_perturbation
    assert (found["crop"].value, found["frame"].value) == (0.0, 0.0)
    assert found["unchanged"].value == found["jpeg"].value == 1.0


def test_no_picture_is_bad_input() -> None:
    with pytest.raises(BadInput, match="received none"):
        same_work_recall([], tiny_picture_vectors, tiny_picture_vectors(PICTURES), [])


def test_a_histogram_counts_colours() -> None:
    half = Image.new("RGB", (4, 2), (255, 0, 0))
    half.paste((0, 0, 255), (0, 0, 1, 2))
    found = colour_histogram(half)
    assert found.shape == (512,)
    assert found[7 * 64] == pytest.approx(np.sqrt(0.75))
    assert found[7] == pytest.approx(np.sqrt(0.25))
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)


def test_copies_are_found_and_other_works_are_not() -> None:
    kinds = ("jpeg", "greyscale", "white_balance", "blur")
    pictures = [*PICTURES, *(PERTURBATIONS[kind](PICTURES[4]) for kind in kinds)]
    groups = copies(np.stack([copy_sketch(picture) for picture in pictures]))
    assert {groups[4], *groups[9:]} == {"4"}
    assert [group for row, group in enumerate(groups[:9]) if row != 4] == [None] * 8


def test_copies_of_copies_are_one_group() -> None:
    # Of 1,104 differences each has 150 of the next one's with another sign, a cosine of 0.73; two
    # further on it is 0.46.
    chain = np.full((4, 1104), 100, np.int8)
    for row in range(4):
        chain[row, : 150 * row] = -100
    far = np.full((1, 1104), -100, np.int8)
    assert copies(np.concatenate([far, chain[::-1]])) == [None, "1", "1", "1", "1"]


def test_a_picture_with_little_in_it_is_no_copy() -> None:
    """Sheets of one colour, and one of them lit from a side, differ in nothing."""
    sheets = [Image.new("RGB", (96, 96), colour) for colour in ("white", "red", "black")]
    lit = np.linspace(255, 200, 96).astype(np.uint8)
    sheets.append(Image.fromarray(np.repeat(np.tile(lit, (96, 1))[..., None], 3, axis=2)))
    assert copies(np.stack([copy_sketch(sheet) for sheet in sheets])) == [None] * 4


def test_what_is_looked_at_is_the_same_every_time() -> None:
    entries = list(range(100))
    assert looked_at(entries, 100) == entries
    some = looked_at(entries, 10)
    assert some == looked_at(entries, 10) == sorted(some)
    assert len(set(some)) == 10
