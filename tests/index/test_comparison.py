"""Intervals and the paired test, against cases worked by hand and enumerated."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from index.space.comparison import compare
from index.space.intervals import Mean, differences, means, sign_flip_p
from tests.index.test_metrics import clusters, on_circle


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        (found,) = means(rng.choice([0.0, 0.2, 0.6, 1.0], (80, 1)))
        covered += found.low <= 0.45 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_an_interval_is_the_normal_one_where_that_holds() -> None:
    values = np.random.default_rng(2).normal(0.3, 0.2, (2000, 2))
    for column, found in zip(values.T, differences(values), strict=True):
        half = 1.96 * column.std() / np.sqrt(2000)
        assert found.value == pytest.approx(column.mean())
        assert found.low == pytest.approx(column.mean() - half, abs=0.001)
        assert found.high == pytest.approx(column.mean() + half, abs=0.001)
    assert differences(values) == differences(values) == means(values)


def test_queries_that_all_agree_are_no_certainty() -> None:
    """P(30 of 30) is 2.5 % where the truth is 0.884."""
    every, none = means(np.tile([1.0, 0.0], (30, 1)))
    assert (every.value, every.low, every.high) == (1.0, pytest.approx(0.8843, abs=1e-4), 1.0)
    assert (none.value, none.low, none.high) == (0.0, 0.0, pytest.approx(0.1157, abs=1e-4))
    (same,) = differences(np.zeros((30, 1)))
    assert (same.low, same.high) == (
        pytest.approx(-0.1157, abs=1e-4),
        pytest.approx(0.1157, abs=1e-4),
    )
    # Of four, two in five at least have the value: 0.025 ^ (1/4) is 0.3976.
    (worse,) = differences(np.full((4, 1), -1.0))
    assert (worse.low, worse.high) == (-1.0, pytest.approx(0.2047, abs=1e-4))
    (third,) = means(np.full((4, 1), 1 / 3))
    assert (third.low, third.high) == (
        pytest.approx(0.1325, abs=1e-4),
        pytest.approx(0.7349, abs=1e-4),
    )


def test_few_queries_have_no_interval() -> None:
    assert means(np.array([[0.4]])) == [Mean(0.4)]
    assert means(np.empty((0, 2))) == [Mean(None), Mean(None)]


@pytest.mark.parametrize(
    "differences", [[0.2, 0.4, 0.2, 0.0, 0.6], [0.2, -0.4, 0.2, -0.2, 0.4, 0.2, 0.6, 0.2]]
)
def test_the_p_value_is_that_of_all_signs(differences: list[float]) -> None:
    values = np.array(differences)
    sums = [abs(values @ signs) for signs in product((-1, 1), repeat=len(values))]
    exact = np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.015)


def test_no_difference_is_no_evidence() -> None:
    assert sign_flip_p(np.zeros(50)) == 1.0


def test_a_better_model_is_told_from_a_worse_one_and_from_itself() -> None:
    good, labels = clusters(noise=0.5)
    bad, _ = clusters(noise=1.1)
    found = compare(good, bad, labels)
    assert found.real
    assert found.difference.low > 0
    assert "real" in found.verdict
    assert "better" in found.verdict
    swapped = compare(bad, good, labels)
    assert swapped.difference.value == pytest.approx(-found.difference.value)
    assert swapped.p_value == found.p_value
    assert "worse" in swapped.verdict
    same = compare(good, good, labels)
    assert (same.difference.value, same.p_value, same.real) == (0.0, 1.0, False)
    assert "may be chance" in same.verdict


def test_pairs_count_and_not_the_spread_of_queries() -> None:
    """Few queries that all gain are a real difference, which two separate intervals would hide."""
    embeddings, labels = clusters(works=300, noise=1.0)
    centres = {label: embeddings[np.array(labels) == label].mean(axis=0) for label in labels}
    moved = embeddings + 0.35 * np.stack([centres[label] for label in labels])
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    found = compare(moved.astype(np.float32), embeddings, labels)
    assert found.real
    assert found.difference.high - found.difference.low < 0.1


def test_what_cannot_be_compared_is_said() -> None:
    found = compare(on_circle(0, 1), on_circle(0, 1), ["a", "b"])
    assert (found.queries, found.p_value, found.real) == (0, None, None)
    assert "not comparable" in found.verdict
