"""Is a work found again from another picture of it? Same-work recall@1.

Every picture is changed in each way of `perturbations.py` and asks the vectors of the collection;
it is found again if its own work comes first. A work that only shares the first place is not
found: a model that gives every picture one vector finds nothing. `unchanged` is the picture as it
is, for control; it is not in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.perturbations import PERTURBATIONS
from index.space.errors import BadInput, ImageRejected
from index.space.intervals import Mean, means

Floats = NDArray[np.float32]
Encode = Callable[[list[Image.Image]], Floats]
CONTROL = "unchanged"


@dataclass(frozen=True)
class Robustness:
    """Same-work recall@1.

    Args:
        works: that asked.
        gallery: works they were looked for among.
        recall: over all perturbations, its interval by work.
        by_perturbation: of each, `unchanged` the control.
    """

    works: int
    gallery: int
    recall: Mean
    by_perturbation: dict[str, Mean]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def same_work_recall(
    pictures: Iterable[Image.Image],
    encode: Encode,
    gallery: Floats,
    rows: Sequence[int],
    same: Sequence[object] | None = None,
) -> Robustness:
    """Measure how surely works are found again.

    Args:
        pictures: RGB, one a work.
        encode: embeds images, float32 (n, dimension), unit norm; may refuse them with
            `ImageRejected`, which counts as not found.
        gallery: float32 (works, dimension), unit norm, of the whole collection.
        rows: the row of each picture's work in the gallery.
        same: one value a gallery row; equal values are the same work (equal files). Without it,
            every row is a work of its own.

    Raises:
        BadInput: no picture.
    """
    named = [str(one) for one in (range(len(gallery)) if same is None else same)]
    of_row = np.unique(named, return_inverse=True)[1]
    found = [
        _found_again(picture, encode, gallery, of_row == of_row[row])
        for picture, row in zip(pictures, rows, strict=True)
    ]
    if not found:
        raise BadInput("same-work recall needs a picture; received none")
    hits = np.array(found, np.float64)
    columns = means(np.column_stack([hits, hits[:, 1:].mean(axis=1)]))
    names = [CONTROL, *PERTURBATIONS]
    return Robustness(
        works=len(found),
        gallery=len(gallery),
        recall=columns[-1],
        by_perturbation=dict(zip(names, columns[:-1], strict=True)),
    )


def _found_again(
    picture: Image.Image, encode: Encode, gallery: Floats, own: NDArray[np.bool_]
) -> list[bool]:
    """Whether the picture as it is, and each perturbation of it, finds its work first."""
    images = [picture, *(perturb(picture) for perturb in PERTURBATIONS.values())]
    vectors = _embedded(images, encode)
    nothing = np.zeros(gallery.shape[1], np.float32)
    similarity = gallery @ np.stack([nothing if v is None else v for v in vectors]).T
    others = similarity[~own].max(axis=0, initial=-np.inf)
    found = similarity[own].max(axis=0) > others
    return [vector is not None and bool(hit) for vector, hit in zip(vectors, found, strict=True)]


def _embedded(images: list[Image.Image], encode: Encode) -> list[Floats | None]:
    """A vector a picture, None for one that is refused."""
    try:
        return list(encode(images))
    except ImageRejected:
        return [_embedded_alone(image, encode) for image in images]


def _embedded_alone(image: Image.Image, encode: Encode) -> Floats | None:
    try:
        alone: Floats = encode([image])[0]
    except ImageRejected:
        return None
    return alone
