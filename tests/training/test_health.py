"""Effective rank, norms and hubs of vectors whose answers are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.health import effective_rank, health, neighbour_counts, skewness


def test_effective_rank_counts_equal_directions():
    assert effective_rank(np.eye(6, dtype=np.float32)) == pytest.approx(6)
    assert effective_rank(np.repeat(np.eye(3, 8, dtype=np.float32), 5, axis=0)) == pytest.approx(3)


def test_effective_rank_of_one_direction_is_one():
    line = np.outer([1, -1, 1, 1], [0.6, 0.8]).astype(np.float32)
    assert effective_rank(line) == pytest.approx(1)


def test_effective_rank_of_two_unequal_directions():
    """Three vectors along x and one along y: singular values sqrt(3) and 1, shares p and 1 - p."""
    p = 3**0.5 / (3**0.5 + 1)
    expected = np.exp(-(p * np.log(p) + (1 - p) * np.log(1 - p)))
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    assert effective_rank(vectors) == pytest.approx(expected)


@pytest.fixture
def star() -> np.ndarray:
    """A hub and four works around it, each nearer to the hub than to one another: cosines 0.8 to
    it and 0.64 among themselves."""
    vectors = np.zeros((5, 5), np.float32)
    vectors[:, 0] = [1, 0.8, 0.8, 0.8, 0.8]
    vectors[np.arange(1, 5), np.arange(1, 5)] = 0.6
    return vectors


def test_the_hub_of_a_star_is_everyones_neighbour(star):
    assert neighbour_counts(star, 1).tolist() == [4, 1, 0, 0, 0]  # the hub's own: the first of four
    # Deviations from the mean 1: 3, 0, -1, -1, -1; moments 12 / 5 and 24 / 5.
    assert skewness(np.array([4, 1, 0, 0, 0])) == pytest.approx(4.8 / 2.4**1.5)
    assert skewness(np.array([2, 2, 2])) == 0


def test_of_unit_vectors_the_mean_tells_what_norms_do_not(star):
    found = health(star)
    assert (found["norm_min"], found["norm_max"]) == pytest.approx((1, 1))
    # The mean is (4.2, 0.6, 0.6, 0.6, 0.6) / 5.
    assert found["norm_of_mean"] == pytest.approx((4.2**2 + 4 * 0.6**2) ** 0.5 / 5)
    assert found["works"] == found["dimension"] == 5
    assert health(np.concatenate([star, -star]))["norm_of_mean"] == pytest.approx(0, abs=1e-6)


def test_norms_that_are_not_one_are_seen(star):
    star[2] *= 0
    star[3] *= 3
    found = health(star)
    assert (found["norm_min"], found["norm_max"]) == pytest.approx((0, 3))
