"""Where works stand on a map: the two directions in which their styles differ most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.space.model import ModelManifest
from index.vectors import Floats

_SAMPLE = 5_000
_BLOCK = 4096


def places(vectors: Floats, model: ModelManifest) -> NDArray[np.float64]:
    """The first two principal components of the first part, scaled into -1 to 1; of more than
    5,000 works, those of a sample by a fixed seed.

    PCA and not t-SNE or UMAP: it takes a second at 100,000 works, moves no work when one is added
    elsewhere, and its distances mean something.

    Args:
        vectors: float32 (works, dimension); it may be a memory-mapped file.

    Returns:
        float64 (works, 2).
    """
    columns = model.columns(model.parts[0].name)
    chosen = np.arange(len(vectors))
    if len(vectors) > _SAMPLE:
        chosen = np.sort(np.random.default_rng(0).choice(len(vectors), _SAMPLE, replace=False))
    sample = vectors[chosen][:, columns]
    mean = sample.mean(axis=0, dtype=np.float64)
    centred = sample - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    main = directions[:, : -3 if sample.shape[1] > 2 else None : -1]
    # An eigenvector's sign is the library's whim: its greatest number is made positive.
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    placed = np.empty((len(vectors), main.shape[1]))
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        placed[block] = (vectors[block, columns] - mean) @ main
    placed /= max(float(np.abs(placed).max()), 1e-12)
    return placed
