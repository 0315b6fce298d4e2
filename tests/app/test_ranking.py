"""Balance, examples and diversity, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from app.ranking import balanced, combined, diverse
from index.space.errors import BadInput
from tests.index.test_confidence import D, collection, manifest

MANIFEST = manifest()


def vector(style: list[float], work: list[float]) -> np.ndarray:
    """Two parts in the first numbers of eight each, of norm sqrt(1/2)."""
    whole = np.zeros(2 * D, np.float32)
    whole[: len(style)] = np.asarray(style) / np.linalg.norm(style) * 0.5**0.5
    whole[D : D + len(work)] = np.asarray(work) / np.linalg.norm(work) * 0.5**0.5
    return whole


@pytest.mark.parametrize("style", [0, 0.25, 0.5, 1])
def test_the_balance_is_exact(style: float) -> None:
    query = vector([1, 0], [1, 0])
    work = vector([0.6, 0.8], [0.28, 0.96])
    score = float(balanced(query, MANIFEST, style) @ work)
    assert score == pytest.approx(style * 0.6 + (1 - style) * 0.28, abs=1e-6)


def test_the_models_own_balance_is_the_default() -> None:
    vectors, *_ = collection(9, spread=1)
    np.testing.assert_allclose(
        balanced(vectors[0], MANIFEST, None) @ vectors.T,
        balanced(vectors[0], MANIFEST, 0.5) @ vectors.T,
        atol=1e-6,
    )


def test_examples_are_averaged_and_moved_away() -> None:
    one, two = vector([1, 0], [1, 0]), vector([0, 1], [1, 0])
    np.testing.assert_allclose(combined([one], [], MANIFEST), one, atol=1e-6)
    np.testing.assert_allclose(
        combined([one, two], [], MANIFEST), vector([1, 1], [1, 0]), atol=1e-6
    )
    # 2 x (1, 1) / 2 - (0, 1) = (1, 0)
    np.testing.assert_allclose(
        combined([one, two], [two], MANIFEST), vector([1, 0], [1, 0]), atol=1e-6
    )


def test_examples_that_cancel_out_are_refused() -> None:
    one = vector([1, 0], [1, 0])
    with pytest.raises(BadInput, match="nothing is left"):
        combined([one, -one], [], MANIFEST)
    # Where one part only cancels out, the other asks alone.
    np.testing.assert_allclose(
        combined([one, vector([-1, 0], [1, 0])], [], MANIFEST)[D], 1, atol=1e-6
    )


def test_diversity_by_hand() -> None:
    """0 and 1 are the same work twice; 2 is another, less alike. At 0.5, after 0, 1 is worth
    0.45 - 0.5 and 2 is worth 0.25 - 0."""
    scores = np.array([0.9, 0.9, 0.5], np.float32)
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    assert diverse(scores, vectors, 0.5) == [0, 2, 1]
    assert diverse(scores, vectors, 0.0) == [0, 1, 2]
    assert diverse(scores[:0], vectors[:0], 0.5) == []
