from __future__ import annotations

import keras
import numpy as np
import pytest

from training import losses
from training.losses import CosineClasses, style_loss, work_loss, work_targets
from training.recipe import Margin


def test_the_margin_is_taken_from_the_right_class_alone():
    """By hand: cosines 0.8 and 0.5, margin 0.4, scale 10: softmax of (4, 5) or of (8, 1); two heads
    that agree are as one, of two the mean counts."""
    loss = style_loss(Margin(margin=0.4, scale=10.0))
    cosines = np.array([[[0.8, 0.5]] * 2, [[0.8, 0.5]] * 2], np.float32)
    found = np.asarray(loss(np.array([0, 1]), cosines))
    expected = [np.log(1 + np.e), np.log(1 + np.e**7)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    differing = np.array([[[0.8, 0.5], [0.5, 0.8]]], np.float32)
    np.testing.assert_allclose(loss(np.array([0]), differing), [np.mean(expected)], rtol=1e-5)


def test_without_a_margin_it_is_cross_entropy():
    found = np.asarray(style_loss(None)(np.array([1]), np.array([[2.0, 1.0]], np.float32)))
    np.testing.assert_allclose(found, [np.log(1 + np.e)], rtol=1e-6)


def test_classes_are_cosines_whatever_the_lengths():
    """Two heads: the second has the first's directions the other way round."""
    layer = CosineClasses(2)
    layer.build((None, 2, 2))
    layer.kernel.assign(np.array([[[3.0, 0.0], [0.0, 0.2]], [[0.0, 0.2], [3.0, 0.0]]]))
    vectors = np.array([[[5.0, 0.0]] * 2, [[1.0, 1.0]] * 2], np.float32)
    found = np.asarray(layer(vectors))
    half = 0.5**0.5
    expected = [[[1, 0], [0, 1]], [[half, half], [half, half]]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert isinstance(again, CosineClasses)
    assert again.units == 2


def test_the_work_part_is_pulled_to_its_own_target():
    targets = np.eye(3, dtype=np.float32)
    loss = work_loss(targets, temperature=0.5)
    parts = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    found = np.asarray(loss(np.array([0, 0]), parts))
    e2 = np.e**2
    np.testing.assert_allclose(found, [np.log((e2 + 2) / e2), np.log(e2 + 2)], rtol=1e-5)


def test_targets_are_standardised_principal_components_half_whitened():
    """Three independent columns count alike once standardised, whatever their deviations; a copy
    of the first makes a component of variance 2, whose deviation half whitening takes from 2^(1/2)
    to 2^(1/4). Of independent normal numbers, |a / b| has the ratio of the deviations as median."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(8000, 3)) * (4, 2, 1)
    features = np.concatenate([base, base[:, :1]], axis=1).astype(np.float32)
    targets = work_targets(features, np.arange(8000), 3)
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, rtol=1e-5)
    assert np.median(np.abs(targets[:, 0] / targets[:, 1])) == pytest.approx(2**0.25, rel=0.05)
    assert np.median(np.abs(targets[:, 1] / targets[:, 2])) == pytest.approx(1, rel=0.05)
    same_sign = (np.sign(targets[:, 0]) == np.sign(base[:, 0])).mean()
    assert max(same_sign, 1 - same_sign) > 0.98  # the doubled column, but for its sample's tilt


@pytest.mark.parametrize(("works", "channels"), [(3, 40), (40, 3)])
def test_few_works_or_channels_leave_zeros(works, channels):
    features = np.random.default_rng(0).normal(size=(works, channels)).astype(np.float32)
    targets = work_targets(features, np.arange(works), 8)
    assert targets.shape == (works, 8)
    assert np.isfinite(targets).all()
    np.testing.assert_allclose(np.linalg.norm(targets, axis=1), 1, rtol=1e-4)


def test_a_collection_taken_in_pieces_has_the_targets_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(3000, 5)) @ rng.normal(size=(5, 5)) + 3).astype(np.float32)
    rows = np.arange(0, 3000, 2)
    whole = work_targets(features, rows, 4)
    monkeypatch.setattr(losses, "_AT_A_TIME", 400)
    pieces = work_targets(features, rows, 4)
    # Components have no sign; the pairwise cosines of works do not depend on it.
    np.testing.assert_allclose(whole @ whole.T, pieces @ pieces.T, atol=1e-4)
