"""The measures against cases worked by hand, scikit-learn and pytorch-metric-learning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, silhouette_samples, silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from index.space import ranking, silhouette
from index.space.errors import BadInput
from index.space.metrics import against_gallery, evaluate, leave_one_out
from index.space.model import Part
from index.space.ranking import nearest
from index.space.retrieval import Retrieval


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


def by_class(found: Retrieval, measure: str) -> dict[str, float | None]:
    return {name: measures[measure].value for name, measures in found.measures_by_class.items()}


def test_perfect_is_one() -> None:
    found = evaluate(on_circle(0, 1, 2, 90, 91, 92), list("aaabbb"), k=2)
    assert found.precision == 1.0
    assert by_class(found, "precision_at_2") == {"a": 1.0, "b": 1.0}
    assert found.classes_below_k_plus_1 == ()


def test_none_is_zero() -> None:
    assert evaluate(on_circle(0, 1, 90, 91), list("abab"), k=1).precision == 0.0


def test_a_case_worked_by_hand() -> None:
    # 0 a | 10 a | 25 b | 100 a | 120 b; two nearest others of each:
    # 0: 10 a, 25 b -> 1/2;  10: 0 a, 25 b -> 1/2;  25: 10 a, 0 a -> 0;
    # 100: 120 b, 25 b -> 0;  120: 100 a, 25 b -> 1/2
    found = evaluate(on_circle(0, 10, 25, 100, 120), list("aabab"), k=2)
    assert found.precision == pytest.approx(1.5 / 5)
    assert by_class(found, "precision_at_2")["a"] == pytest.approx(1 / 3)
    assert by_class(found, "precision_at_2")["b"] == pytest.approx(1 / 4)
    assert found.classes_below_k_plus_1 == ("b",)


def test_k_larger_than_what_there_is_divides_by_what_there_is() -> None:
    found = evaluate(on_circle(0, 1, 2), list("aab"), k=5)
    assert (found.denominator, found.findable) == (2, 2)
    assert found.precision == pytest.approx((1 / 2 + 1 / 2) / 2)  # b has nothing to find
    assert (found.queries, found.queries_without_relevant) == (3, 1)
    assert by_class(found, "precision_at_5") == {"a": 0.5, "b": None}
    assert "has another of it" in found.reasons["measures_by_class.b"]


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
    assert (same.precision, same.chance, same.silhouette) == (None, None, None)
    assert "only one class" in same.reasons["precision"]
    assert "two classes" in same.reasons["silhouette"]
    assert same.measures["mean_average_precision"].value is None


def test_a_collection_of_two_and_singletons_have_a_reason_and_no_number() -> None:
    for labels in ("ab", "abcdef"):
        found = evaluate(on_circle(*range(0, 10 * len(labels), 10)), list(labels))
        assert (found.precision, found.silhouette) == (None, None)
        assert found.queries_without_relevant == len(labels)
        assert "no query has another work of its class" in found.reasons["precision"]
        assert "a class of two works" in found.reasons["silhouette"]


def test_small_classes_say_how_far_a_perfect_order_gets() -> None:
    # Of each of the three a's two others can be found among five, of b's five all five.
    found = evaluate(on_circle(*range(3), *range(90, 96)), list("aaabbbbbb"), k=5)
    assert found.ceiling_by_class == {"a": pytest.approx(2 / 5), "b": 1.0}
    assert found.ceiling == pytest.approx((3 * 0.4 + 6 * 1) / 9)
    assert found.precision == found.ceiling
    assert found.classes_below_k_plus_1 == ("a",)


def test_every_precision_says_how_far_a_perfect_order_gets() -> None:
    # Four classes of six: five others to find, so 5 of 5 and at most 5 of 10.
    found = evaluate(
        on_circle(*range(6), *range(40, 46), *range(80, 86), *range(120, 126)),
        [name for name in "abcd" for _ in range(6)],
    )
    assert found.ceilings == {"precision_at_1": 1, "precision_at_5": 1, "precision_at_10": 0.5}
    assert found.measures["precision_at_10"].value == 0.5


def test_all_measures_of_a_case_worked_by_hand() -> None:
    # 0 a | 10 b | 25 a | 60 b | 100 a; the ranking of each:
    #   0: b a b a    25: b a b a    100: b a b a    (their relevant at ranks 2 and 4)
    #  10: a a b a    60: a a b a                    (their one relevant at rank 3)
    found = evaluate(on_circle(0, 10, 25, 60, 100), list("ababa"), k=3)
    value = {name: mean.value for name, mean in found.measures.items()}
    assert value["precision_at_1"] == 0
    assert value["precision_at_3"] == pytest.approx(1 / 3)
    assert value["precision_at_5"] == pytest.approx((3 * 2 / 4 + 2 * 1 / 4) / 5)
    assert value["recall_at_1"] == 0
    assert value["recall_at_3"] == value["recall_at_5"] == 1
    assert value["mean_average_precision"] == pytest.approx((3 * (1 / 2 + 2 / 4) / 2 + 2 / 3) / 5)
    assert value["mean_average_precision_at_r"] == pytest.approx(3 * (1 / 2) / 2 / 5)
    assert value["r_precision"] == pytest.approx(3 * (1 / 2) / 5)
    assert value["knn_accuracy"] == 0  # b a b against an a, a a b against a b
    # An a finds 2 of 4 others, a b 1 of 4.
    assert found.chance == pytest.approx((3 * 2 / 4 + 2 * 1 / 4) / 5)


def test_chance_is_what_random_orders_give() -> None:
    labels = list("aabbbbcccccccc")
    chance = evaluate(on_circle(*range(0, 140, 10)), labels, k=3).chance
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        points = rng.normal(size=(14, 30)).astype(np.float32)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        drawn.append(evaluate(points, labels, k=3).precision)
    assert np.mean(drawn) == pytest.approx(chance, abs=0.01)


def test_equal_votes_go_to_the_nearer_class() -> None:
    # The query at 0 (a) asks two: 10 b, then -20 a: one vote each, b is nearer. That at 50 (b)
    # asks 60 a and 30 b: a is nearer. Both are wrong; that at -20 asks 0 a, 10 b: right.
    found = evaluate(on_circle(0, 10, -20, 50, 60, 30), list("ababab"), k=2)
    assert found.measures["knn_accuracy"].value is not None
    by_hand = {0: "b", 10: "a", -20: "a", 50: "a", 60: "b", 30: "b"}
    right = sum(by_hand[d] == c for d, c in zip(by_hand, "ababab", strict=True))
    assert found.measures["knn_accuracy"].value == pytest.approx(right / 6)


def test_an_excluded_group_is_not_found_and_its_queries_are_counted() -> None:
    # a's by two painters, b's by one and an unknown: painters' own works are not found.
    degrees, labels = (0, 1, 10, 90, 91, 95), list("aaabbb")
    painters = ["m", "m", "n", "o", "o", None]
    found = leave_one_out(on_circle(*degrees), labels, k=1, exclude=painters)
    # 0 -> 10, 1 -> 10, 10 -> 1, 90 -> 95, 91 -> 95, 95 -> 91: all of their class
    assert found.precision == 1.0
    assert found.findable == 4
    alone = leave_one_out(on_circle(*degrees), labels, k=1, exclude=["m", "m", "n", "o", "o", "o"])
    assert by_class(alone, "precision_at_1") == {"a": 1.0, "b": None}
    assert alone.queries_without_relevant == 3
    assert alone.precision == 1.0


def test_without_copies_the_next_work_counts() -> None:
    # 0 and 0.1 are copies; without them each finds the b at 5 first, not its copy.
    degrees, labels = (0, 0.1, 5, 30, 40), list("aabab")
    own = leave_one_out(on_circle(*degrees), labels, k=1)
    assert by_class(own, "precision_at_1")["a"] == pytest.approx(2 / 3)
    apart = leave_one_out(on_circle(*degrees), labels, k=1, exclude=["1", "1", None, None, None])
    assert by_class(apart, "precision_at_1")["a"] == 0


def test_queries_against_a_gallery_worked_by_hand() -> None:
    # The gallery: 0 a, 20 b, 40 a. 5 (a) asks: a b a; 25 (b): b a a; 30 (c): nothing to find.
    found = against_gallery(
        on_circle(5, 25, 31), list("abc"), on_circle(0, 20, 40), list("aba"), k=2
    )
    assert (found.works, found.gallery, found.queries_without_relevant) == (3, 3, 1)
    assert by_class(found, "precision_at_2") == {"a": 0.5, "b": 0.5, "c": None}
    assert found.measures["precision_at_1"].value == 1.0
    assert found.chance == pytest.approx((2 / 3 + 1 / 3) / 2)
    # A picture that is in the gallery too finds itself there, unless it is barred by its group.
    barred = against_gallery(
        on_circle(0), ["a"], on_circle(0, 20, 40), list("aba"), k=1, exclude=(["x"], ["x", "", ""])
    )
    assert barred.precision == 0.0


def test_parts_are_measured_alone_at_unit_norm() -> None:
    embeddings, labels = clusters()
    style, work = embeddings[:, :16], np.random.default_rng(3).normal(size=(300, 8))
    joined = np.concatenate([style * 0.9, work * 0.01], axis=1).astype(np.float32)
    joined /= np.linalg.norm(joined, axis=1, keepdims=True)
    parts = [Part(name="style", width=16, weight=0.9), Part(name="work", width=8, weight=0.1)]
    found = evaluate(joined, labels, parts=parts)
    for name, piece in (("style", style), ("work", work)):
        for key, metric in (("silhouette", "euclidean"), ("silhouette_cosine", "cosine")):
            unit = piece / np.linalg.norm(piece, axis=1, keepdims=True)
            expected = silhouette_score(unit, labels, metric=metric)
            assert found.parts[name][key] == pytest.approx(expected, abs=1e-6)
    joined[0] = [1.0] + [0.0] * 23
    broken = evaluate(joined, labels, parts=parts)
    assert broken.parts["work"] == {"silhouette": None, "silhouette_cosine": None}
    assert "norm 0" in broken.reasons["parts.work"]
    with pytest.raises(BadInput, match="must sum to 24"):
        evaluate(joined, labels, parts=parts[:1])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_silhouette_is_scikit_learns(metric: str) -> None:
    embeddings, labels = clusters()
    labels[0] = "a class of one"
    found = evaluate(embeddings, labels)
    key = "silhouette" if metric == "euclidean" else "silhouette_cosine"
    expected = silhouette_score(embeddings, labels, metric=metric)
    assert getattr(found, key) == pytest.approx(expected, abs=1e-6)
    each = silhouette_samples(embeddings, labels, metric=metric)
    for name, both in found.silhouette_by_class.items():
        own = each[np.array(labels) == name].mean()
        assert both[key] == pytest.approx(own, abs=1e-6)


def test_a_class_has_all_measures_with_their_intervals() -> None:
    """Those that its queries have among all works."""
    embeddings, labels = clusters(works=150)
    found = evaluate(embeddings, labels)
    sizes = {name: labels.count(name) for name in set(labels)}
    for measure, mean in found.measures.items():
        by_size = [sizes[n] * m[measure].value for n, m in found.measures_by_class.items()]
        assert sum(by_size) / 150 == pytest.approx(mean.value)
    for measures in found.measures_by_class.values():
        for mean in measures.values():
            assert mean.low <= mean.value <= mean.high
            assert mean.low < mean.high


def test_a_class_of_nothing_asked_has_no_silhouette(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = clusters(works=300)
    monkeypatch.setattr(ranking, "PAIRS", 300)
    few = evaluate(embeddings, labels)
    assert few.queries == 1
    nothing = {"silhouette": None, "silhouette_cosine": None}
    assert sum(both == nothing for both in few.silhouette_by_class.values()) == 6


def test_average_precision_is_scikit_learns() -> None:
    embeddings, labels = clusters(works=150)
    expected = []
    for query in range(150):
        others = np.arange(150) != query
        same = np.array(labels)[others] == labels[query]
        expected.append(average_precision_score(same, (embeddings @ embeddings[query])[others]))
    found = evaluate(embeddings, labels).measures["mean_average_precision"].value
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


def test_accuracy_of_the_neighbours_vote_is_scikit_learns() -> None:
    """Majority first; of equal majorities the one with more similarity, as the weights say."""
    embeddings, labels = clusters(works=150)
    vote = KNeighborsClassifier(
        5, metric="cosine", algorithm="brute", weights=lambda distance: 1 + 1e-3 * (1 - distance)
    )
    right = 0
    for query in range(150):
        others = np.arange(150) != query
        vote.fit(embeddings[others], np.array(labels)[others])
        right += vote.predict(embeddings[query : query + 1])[0] == labels[query]
    found = evaluate(embeddings, labels).measures["knn_accuracy"].value
    assert found == pytest.approx(right / 150, abs=1e-6)


@pytest.mark.parametrize("protocol", ["leave_one_out", "against_gallery"])
def test_figures_are_pytorch_metric_learnings(protocol: str) -> None:
    """Golden numbers made by tools/metric_goldens.py; three classes have nothing to find."""
    golden = json.loads((Path(__file__).parent / "goldens/metrics.json").read_text("utf-8"))
    points = np.array(golden["points"], np.float32)
    labels, queries = [str(code) for code in golden["codes"]], golden["queries"]
    if protocol == "leave_one_out":
        found = evaluate(points, labels)
    else:
        found = against_gallery(
            points[:queries], labels[:queries], points[queries:], labels[queries:]
        )
    assert found.queries_without_relevant == 3
    for name, expected in golden[protocol].items():
        assert found.measures[name].value == pytest.approx(expected, abs=1e-6)


def test_of_many_works_a_sample_asks_all(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = clusters(works=300)
    whole = evaluate(embeddings, labels)
    monkeypatch.setattr(ranking, "PAIRS", 300 * 200)
    found = evaluate(embeddings, labels)
    assert (found.works, found.queries, found.gallery) == (300, 200, 300)
    assert found == evaluate(embeddings, labels)
    assert found.silhouette == pytest.approx(whole.silhouette, abs=0.02)
    mean = found.measures["precision_at_5"]
    assert mean.low < whole.precision < mean.high
    monkeypatch.setattr(ranking, "PAIRS", 300)
    few = evaluate(embeddings, labels)
    assert few.queries == 1
    assert sum(value is None for value in by_class(few, "precision_at_5").values()) == 6
    assert len(few.reasons) == 6


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
    monkeypatch.setattr(ranking, "_BLOCK", 37 * 250)
    monkeypatch.setattr(silhouette, "_BLOCK", 37 * 250)
    blocks = evaluate(embeddings, labels)
    assert blocks.measures == whole.measures
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
