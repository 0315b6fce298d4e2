"""Where works stand on a map: the two directions in which their styles differ most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.space.model import ModelManifest
from index.vectors import Floats

_SAMPLE = 20_000


def places(vectors: Floats, model: ModelManifest) -> NDArray[np.float64]:
    """The first two principal components of the first part, scaled into -1 to 1.

    PCA and not t-SNE or UMAP: it takes a second at 100,000 works, moves no work when one is added
    elsewhere, and its distances mean something.

    Args:
        vectors: float32 (works, dimension).

    Returns:
        float64 (works, 2).
    """
    part = vectors[:, model.columns(model.parts[0].name)]
    sample = part
    if len(part) > _SAMPLE:
        sample = part[np.random.default_rng(0).choice(len(part), _SAMPLE, replace=False)]
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    main = directions[:, : -3 if part.shape[1] > 2 else None : -1]
    # An eigenvector's sign is the library's whim: its greatest number is made positive.
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    found = (part - mean) @ main
    found /= max(float(np.abs(found).max()), 1e-12)
    placed: NDArray[np.float64] = found
    return placed
