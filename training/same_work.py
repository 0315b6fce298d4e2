"""Is a work still found again from another picture of it, after a phase?

The measure of `index/robustness.py`, on a sample of the test works among all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.progress import track
from index.robustness import Encode, same_work_recall
from index.space.preprocessing import Preprocessing, to_pixels
from training.dataset import Dataset
from training.inference import Run

ASKED = 200


def same_work(
    dataset: Dataset, run: Run, gallery: NDArray[np.float32], asked: int = ASKED
) -> dict[str, Any]:
    """Recall@1 of changed pictures of test works.

    Args:
        run: pixels to embeddings of any norm.
        gallery: float32 (test works, dimension), unit norm, in the order of the data set's rows.
        asked: how many works are changed and ask, at most.
    """
    rows = dataset.parts["test"]
    chosen = np.arange(len(rows))
    if len(rows) > asked:
        chosen = np.sort(np.random.default_rng(0).choice(len(rows), asked, replace=False))
    pictures = (Image.fromarray(np.asarray(dataset.pixels[row])) for row in rows[chosen])
    asking = track(pictures, len(chosen), "asking with changed pictures")
    found = same_work_recall(
        asking, encoder(run, dataset.pixels.shape[1]), gallery, chosen.tolist()
    )
    return {
        "recall_at_1": found.recall.value,
        "interval": [found.recall.low, found.recall.high],
        "works": found.works,
        "gallery": found.gallery,
        "by_change": {name: mean.value for name, mean in found.by_perturbation.items()},
    }


def encoder(run: Run, size: int) -> Encode:
    """Images to unit-norm embeddings, as a service would embed them."""
    spec = Preprocessing(height=size, width=size)

    def encode(images: list[Image.Image]) -> NDArray[np.float32]:
        found = run(np.stack([to_pixels(image, spec) for image in images]))
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        unit: NDArray[np.float32] = found / np.maximum(norms, 1e-12)
        return unit

    return encode
