from __future__ import annotations

import numpy as np

from training.augment import fixed_view, random_parts, varied


def ramp(count: int, size: int = 32) -> np.ndarray:
    """Red grows to the right, green downwards: where a part was cut can be read off it."""
    line = np.linspace(20, 240, size)
    picture = np.zeros((size, size, 3))
    picture[..., 0], picture[..., 1] = line[None, :], line[:, None]
    return np.stack([picture.astype(np.uint8)] * count)


def test_parts_have_at_least_half_the_area_and_every_other_one_is_mirrored():
    parts = random_parts(ramp(400), np.random.default_rng(0)).astype(float)
    assert parts.shape == (400, 32, 32, 3)
    wide = (parts[:, 16, -1, 0] - parts[:, 16, 0, 0]) / 220
    high = (parts[:, -1, 16, 1] - parts[:, 0, 16, 1]) / 220
    area = np.abs(wide) * high
    assert 0.45 < area.min() < 0.6
    assert 0.9 < area.max() <= 1.01
    assert 0.4 < (wide < 0).mean() < 0.6
    assert (high > 0).all()  # never upside down


def test_one_view_is_the_picture_and_two_are_the_picture_or_its_mirror_image():
    pictures = ramp(50)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(varied(pictures, 1, rng), pictures)
    seen = varied(pictures, 2, rng)
    mirrored = (seen == pictures[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 10 < mirrored.sum() < 40
    np.testing.assert_array_equal(seen[~mirrored], pictures[~mirrored])


def test_pictures_to_train_on_may_be_smaller():
    pictures = ramp(20)
    smaller = np.concatenate(
        [varied(pictures, views, np.random.default_rng(0), size=16) for views in (1, 2)]
    )
    assert smaller.shape == (40, 16, 16, 3)
    red, green = smaller[..., 0][:, 8, [0, -1]], smaller[..., 1][:, [0, -1], 8]
    np.testing.assert_allclose(np.sort(red, axis=1), [[20, 240]] * 40, atol=2)  # to the edges
    np.testing.assert_allclose(green, [[20, 240]] * 40, atol=2)
    assert varied(pictures, 4, np.random.default_rng(0), size=16).shape == (20, 16, 16, 3)


def test_fixed_views_are_fixed_and_differ():
    pictures = ramp(4)
    views = [fixed_view(pictures, view, start=64) for view in range(4)]
    np.testing.assert_array_equal(views[0], pictures)
    np.testing.assert_array_equal(views[1], pictures[:, :, ::-1])
    np.testing.assert_array_equal(views[3], fixed_view(pictures, 3, start=64))
    assert (views[2] != views[3]).any()
    assert (views[2] != fixed_view(pictures, 2, start=0)).any()
