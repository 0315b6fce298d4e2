"""The map against scikit-learn's PCA."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from index.map import places
from tests.index.test_confidence import D, collection, manifest


def test_the_map_is_scikit_learns_pca_of_the_style_part() -> None:
    vectors, *_ = collection(300, spread=0.5)
    theirs = PCA(2, svd_solver="full").fit_transform(vectors[:, :D])
    ours = places(vectors, manifest())
    assert np.abs(ours).max() == 1
    theirs /= np.abs(theirs).max()
    for axis in range(2):
        sign = np.sign(theirs[:, axis] @ ours[:, axis])
        np.testing.assert_allclose(ours[:, axis], sign * theirs[:, axis], atol=1e-4)


def test_small_collections_have_a_map() -> None:
    for works in (1, 2, 3):
        vectors, *_ = collection(works, spread=0.5)
        assert places(vectors, manifest()).shape == (works, 2)
        assert np.isfinite(places(vectors, manifest())).all()
