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
        recall: over all perturbations, its interval by work; None where the gallery has no other
            work to be taken for the own.
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
    return found_again(changed_vectors(pictures, encode, gallery.shape[1]), gallery, rows, same)


def changed_vectors(pictures: Iterable[Image.Image], encode: Encode, dimension: int) -> Floats:
    """Vectors of each picture as it is and of each perturbation of it.

    Returns:
        float32 (pictures, 1 + perturbations, dimension); NaN for one that is refused, which finds
        nothing.
    """
    refused = np.full(dimension, np.nan, np.float32)
    changes = PERTURBATIONS.values()
    vectors = [
        _embedded([picture, *(change(picture) for change in changes)], encode, refused)
        for picture in pictures
    ]
    return np.array(vectors, np.float32).reshape(-1, 1 + len(PERTURBATIONS), dimension)


def found_again(
    vectors: Floats,
    gallery: Floats,
    rows: Sequence[int],
    same: Sequence[object] | None = None,
) -> Robustness:
    """The same as `same_work_recall`, of vectors that `changed_vectors` gave."""
    if not len(vectors):
        raise BadInput("same-work recall needs a picture; received none")
    named = [str(one) for one in (range(len(gallery)) if same is None else same)]
    of_row = np.unique(named, return_inverse=True)[1]
    hits = np.zeros(vectors.shape[:2])
    for number, (asking, row) in enumerate(zip(vectors, rows, strict=True)):
        own, other = own_and_other(asking, gallery, of_row == of_row[row])
        hits[number] = own > other
    columns = means(np.column_stack([hits, hits[:, 1:].mean(axis=1)]))
    if (of_row == of_row[0]).all():  # whatever the vectors are, the first is right
        columns = [Mean(None)] * len(columns)
    names = [CONTROL, *PERTURBATIONS]
    return Robustness(
        works=len(hits),
        gallery=len(gallery),
        recall=columns[-1],
        by_perturbation=dict(zip(names, columns[:-1], strict=True)),
    )


def own_and_other(
    asking: Floats, gallery: Floats, is_own: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Highest cosine of each vector with its own work and with another, both (n,)."""
    similarity = gallery @ asking.T
    return similarity[is_own].max(axis=0), similarity[~is_own].max(axis=0, initial=-np.inf)


def _embedded(images: list[Image.Image], encode: Encode, refused: Floats) -> list[Floats]:
    try:
        return list(encode(images))
    except ImageRejected:
        return [_embedded_alone(image, encode, refused) for image in images]


def _embedded_alone(image: Image.Image, encode: Encode, refused: Floats) -> Floats:
    try:
        alone: Floats = encode([image])[0]
    except ImageRejected:
        return refused
    return alone
