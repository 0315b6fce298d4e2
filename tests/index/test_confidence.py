"""Confidence against scikit-learn's curve, and on collections whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from index.confidence import _Asked, _logistic, learn_confidence
from index.space.model import ModelManifest, Part
from index.space.preprocessing import Preprocessing

D = 8


def manifest() -> ModelManifest:
    return ModelManifest(
        files={},
        name="m",
        version="1",
        backbone="lite0",
        preset="artkin",
        dimension=2 * D,
        parts=[Part(name="style", width=D, weight=0.5), Part(name="work", width=D, weight=0.5)],
        preprocessing=Preprocessing(height=32, width=32),
        classes=["a", "b"],
        created="2026-01-01T00:00:00+00:00",
        report={},
    )


def collection(works: int, spread: float, classes: int = 4, seen: bool = False):
    """Works around their classes' directions; parts of norm sqrt(1/2)."""
    rng = np.random.default_rng(works)
    codes = np.arange(works) % classes
    style = np.eye(D)[codes] + rng.normal(0, spread, (works, D))
    work = rng.normal(size=(works, D))
    parts = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (style, work)]
    vectors = (0.5**0.5 * np.concatenate(parts, axis=1)).astype(np.float32)
    return vectors, [f"class{code}" for code in codes], np.full(works, seen)


def test_the_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, (300, 10)).astype(np.float32)
    right = rng.random((300, 10)) < 1 / (1 + np.exp(-(4 * cosines - 1)))
    slope, intercept = _logistic(_Asked(cosines, right, cosines[:, 0], cosines[:, 0]))
    theirs = LogisticRegression(C=1e3, tol=1e-8).fit(cosines.reshape(-1, 1), right.ravel())
    assert slope == pytest.approx(theirs.coef_[0, 0], abs=1e-2)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-2)


def test_confidence_is_the_share_that_is_right() -> None:
    learnt = learn_confidence(*collection(1200, spread=0.6), manifest())
    assert learnt is not None
    assert learnt.queries == 1200
    assert learnt.part == "style"
    assert learnt.error < 0.05
    assert learnt.of(0.95) > learnt.of(0.5) > learnt.of(0.0)
    # One in twenty of those whose class is there is missed, of works it was not chosen on.
    assert learnt.false_positives == pytest.approx(0.05, abs=0.02)


def test_classes_far_apart_are_missed_when_they_are_away() -> None:
    near = learn_confidence(*collection(600, spread=0.05), manifest())
    mixed = learn_confidence(*collection(600, spread=3.0), manifest())
    assert near is not None
    assert mixed is not None
    assert near.found > 0.95
    assert mixed.found < 0.15
    # Where it tells nothing it is not said.
    assert near.threshold is not None
    assert mixed.threshold is None
    assert near.of(1.0) > 0.99


def test_nothing_is_learnt_from_too_little() -> None:
    assert learn_confidence(*collection(48, spread=0.5), manifest()) is None
    assert learn_confidence(*collection(200, 0.5, classes=1), manifest()) is None
    assert learn_confidence(*collection(200, 0.5, seen=True), manifest()) is None


def test_works_without_a_class_are_nobodys_other() -> None:
    """Half the works have no class: what is learnt is what the other half alone teaches."""
    vectors, labels, seen = collection(800, spread=0.5)
    nameless = labels[:400] + [None] * 400
    assert learn_confidence(vectors, nameless, seen, manifest()) == learn_confidence(
        vectors[:400], labels[:400], seen[:400], manifest()
    )
