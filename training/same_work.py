"""Is a work still found again from another picture of it, and when is a picture a copy?

The measure of `index/robustness.py`, on a sample of the test works among all of them. The part of
the embedding that knows the work, alone, tells copies from works that are merely alike: a copy has
at least the cosine that only one in 200 strangers reaches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.perturbations import PERTURBATIONS
from index.progress import track
from index.robustness import Encode, changed_vectors, found_again, own_and_other
from index.space.model import CopyRule
from index.space.preprocessing import Preprocessing, to_pixels
from training.dataset import Dataset
from training.inference import Run

ASKED = 200
FALSE_ALARMS = 0.005
Floats = NDArray[np.float32]


def same_work(
    dataset: Dataset, run: Run, gallery: Floats, work: slice | None = None, asked: int = ASKED
) -> dict[str, Any]:
    """Recall@1 of changed pictures of test works.

    Args:
        run: pixels to embeddings of any norm.
        gallery: float32 (test works, dimension), unit norm, in the order of the data set's rows.
        work: the part of the embedding that knows the work.
        asked: how many works are changed and ask, at most.

    Returns:
        The recall with its interval, by change as well, and the rule for copies, if there is one.
    """
    rows = dataset.parts["test"]
    chosen = np.arange(len(rows))
    if len(rows) > asked:
        chosen = np.sort(np.random.default_rng(0).choice(len(rows), asked, replace=False))
    pictures = (Image.fromarray(np.asarray(dataset.pixels[row])) for row in rows[chosen])
    asking = track(pictures, len(chosen), "asking with changed pictures")
    encode = _encoder(run, dataset.pixels.shape[1])
    vectors = changed_vectors(asking, encode, gallery.shape[1])
    same = np.array([dataset.same[row] for row in rows])
    found = found_again(vectors, gallery, chosen.tolist(), same.tolist())
    rule = None
    if work and len(np.unique(same)) > 1:
        parts = _unit(vectors[..., work]), _unit(gallery[:, work])
        rule = copy_rule(*parts, chosen, same, PERTURBATIONS)
    return {
        "recall_at_1": found.recall.value,
        "interval": [found.recall.low, found.recall.high],
        "works": found.works,
        "gallery": found.gallery,
        "by_change": {name: mean.value for name, mean in found.by_perturbation.items()},
        "copies": rule.model_dump() if rule else None,
    }


def copy_rule(
    vectors: Floats,
    gallery: Floats,
    rows: NDArray[np.int64],
    same: NDArray[Any],
    changes: Iterable[str],
) -> CopyRule:
    """The cosine that few strangers reach, and what it costs: of each half of the works by the
    cosine that the other half would choose, since its own choice flatters.

    Args:
        vectors: float32 (works, 1 + changes, d), unit norm: the first of each is the picture as it
            is, which tells nothing.
        gallery: float32 (test works, d), unit norm.
        rows: of the works in the gallery.
        same: (test works,), equal for copies of one work: they are no strangers.
        changes: their names.
    """
    pairs = [
        own_and_other(asking, gallery, same == same[row])
        for asking, row in zip(vectors[:, 1:], rows, strict=True)
    ]
    own, other = (np.stack(kind) for kind in zip(*pairs, strict=True))
    halves = [np.arange(len(rows)) % 2 == half for half in (0, 1)]
    judging = halves[::-1] if len(rows) > 1 else halves  # of one work, it judges itself
    cosines = np.empty(len(rows))
    for judged, judge in zip(halves, judging, strict=True):
        if judged.any():
            cosines[judged] = _few_reach(other[judge])
    missed = ~(own >= cosines[:, None])
    return CopyRule(
        part="work",
        cosine=_few_reach(other),
        missed=float(missed.mean()),
        missed_by_change=dict(zip(changes, missed.mean(axis=0).tolist(), strict=True)),
        false_alarms=float((other >= cosines[:, None]).mean()),
        asked=own.size,
        among=len(gallery),
    )


def _few_reach(strangers: Floats) -> float:
    """Rounded upwards: the figure in the manifest is the figure that is compared with."""
    return round(float(np.ceil(np.nanquantile(strangers, 1 - FALSE_ALARMS) * 1000)) / 1000, 3)


def _encoder(run: Run, size: int) -> Encode:
    """Images to unit-norm embeddings, as a service would embed them."""
    spec = Preprocessing(height=size, width=size)
    return lambda images: _unit(run(np.stack([to_pixels(image, spec) for image in images])))


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.maximum(norms, 1e-12)
    return unit
