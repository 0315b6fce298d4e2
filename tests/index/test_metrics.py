"""Precision@k and silhouette against cases worked by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from index.space import metrics
from index.space.errors import BadInput
from index.space.metrics import evaluate, nearest


def on_circle(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane: neighbours can be read off the angles."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def clusters(
    works: int = 300, classes: int = 7, noise: float = 0.8
) -> tuple[np.ndarray, list[str]]:
    """Seeded clusters on the sphere that overlap."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(classes, 24))
    codes = rng.integers(0, classes, works)
    points = centres[codes] + noise * rng.normal(size=(works, 24)) * np.sqrt(3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32), [f"class {code}" for code in codes]


def test_perfect_is_one() -> None:
    found = evaluate(on_circle(0, 1, 2, 90, 91, 92), list("aaabbb"), k=2)
    assert found.precision == 1.0
    assert found.precision_by_class == {"a": 1.0, "b": 1.0}
    assert found.classes_below_k_plus_1 == ()


def test_none_is_zero() -> None:
    assert evaluate(on_circle(0, 1, 90, 91), list("abab"), k=1).precision == 0.0


def test_a_case_worked_by_hand() -> None:
    # 0 a | 10 a | 25 b | 100 a | 120 b; two nearest others of each:
    # 0: 10 a, 25 b -> 1/2;  10: 0 a, 25 b -> 1/2;  25: 10 a, 0 a -> 0;
    # 100: 120 b, 25 b -> 0;  120: 100 a, 25 b -> 1/2
    found = evaluate(on_circle(0, 10, 25, 100, 120), list("aabab"), k=2)
    assert found.precision == pytest.approx(1.5 / 5)
    assert found.precision_by_class["a"] == pytest.approx(1 / 3)
    assert found.precision_by_class["b"] == pytest.approx(1 / 4)
    assert found.classes_below_k_plus_1 == ("b",)


def test_k_larger_than_what_there_is_divides_by_what_there_is() -> None:
    found = evaluate(on_circle(0, 1, 2), list("aab"), k=5)
    assert found.denominator == 2
    assert found.precision == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)


def test_duplicates_do_not_hide_the_query() -> None:
    # Three copies: each must find the two others, never itself, wherever it stands among them.
    neighbours = nearest(on_circle(30, 30, 30, 120), k=2)
    assert [sorted(row) for row in neighbours[:3].tolist()] == [[1, 2], [0, 2], [0, 1]]
    assert all(row not in found for row, found in enumerate(neighbours.tolist()))


def test_ties_go_to_the_lower_row() -> None:
    assert nearest(on_circle(0, 90, -90, 90), k=3)[0].tolist() == [1, 2, 3]


def test_one_work_or_one_class_has_no_numbers() -> None:
    one = evaluate(on_circle(0), ["a"], k=5)
    assert (one.precision, one.silhouette, one.silhouette_cosine) == (None, None, None)
    same = evaluate(on_circle(0, 5, 9), list("aaa"), k=5)
    assert same.precision == 1.0
    assert same.silhouette is None


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_silhouette_is_scikit_learns(metric: str) -> None:
    from sklearn.metrics import silhouette_score

    embeddings, labels = clusters()
    labels[0] = "a class of one"
    found = evaluate(embeddings, labels)
    value = found.silhouette if metric == "euclidean" else found.silhouette_cosine
    assert value == pytest.approx(silhouette_score(embeddings, labels, metric=metric), abs=1e-5)


def test_silhouette_of_identical_vectors_is_finite() -> None:
    found = evaluate(on_circle(10, 10, 10, 10), list("aabb"))
    assert found.silhouette == 0.0
    assert found.silhouette_cosine == 0.0


def test_precision_is_that_of_a_plain_double_loop() -> None:
    embeddings, labels = clusters(works=120)
    hits = 0
    for query in range(120):
        others = [row for row in range(120) if row != query]
        others.sort(key=lambda row: -float(embeddings[query] @ embeddings[row]))
        hits += sum(labels[row] == labels[query] for row in others[:5])
    assert evaluate(embeddings, labels).precision == pytest.approx(hits / 600)


def test_blocks_give_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = clusters(works=250)
    whole = evaluate(embeddings, labels)
    monkeypatch.setattr(metrics, "_BLOCK", 37)
    blocks = evaluate(embeddings, labels)
    assert blocks.precision == whole.precision
    assert blocks.silhouette == pytest.approx(whole.silhouette, abs=1e-7)


def test_order_of_the_works_does_not_matter() -> None:
    embeddings, labels = clusters()
    order = np.random.default_rng(1).permutation(len(labels))
    shuffled = evaluate(embeddings[order], [labels[row] for row in order])
    straight = evaluate(embeddings, labels)
    assert shuffled.precision == pytest.approx(straight.precision)
    assert shuffled.silhouette == pytest.approx(straight.silhouette, abs=1e-6)


@pytest.mark.parametrize(
    ("embeddings", "labels", "k", "said"),
    [
        (on_circle(0, 1), ["a"], 5, "one label a row"),
        (on_circle(0, 1), ["a", "b"], 0, "k must be >= 1"),
        (on_circle(0, 1) * 2, ["a", "b"], 5, "unit norm"),
        (on_circle(0, np.nan), ["a", "b"], 5, "finite"),
        (np.empty((0, 2), np.float32), [], 5, "received none"),
    ],
)
def test_bad_input_is_said(embeddings: np.ndarray, labels: list[str], k: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        evaluate(embeddings, labels, k)
