"""How good embeddings are: one implementation for training, `artkin evaluate` and the service.

Leave-one-out (`evaluate`, `leave_one_out`): every labelled work asks for all the others, itself
dropped by its row and never as "the first hit" (a duplicate may stand there). Query against
gallery (`against_gallery`): new works ask for others. The measures and what happens to queries
with nothing to find are in `retrieval.py`, the silhouette in `silhouette.py`, intervals in
`intervals.py`. Of many works a sample is asked, against all of them (`ranking.sample`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.space.errors import BadInput
from index.space.model import Part, columns_of
from index.space.ranking import Gallery, Queries, among_themselves, group_codes, sample
from index.space.retrieval import Retrieval, per_query, summarise
from index.space.silhouette import Silhouette, silhouette

Floats = NDArray[np.float32]
Groups = Sequence[str | None]


@dataclass(frozen=True)
class Evaluation(Retrieval):
    """What one set of labelled embeddings is worth, leave-one-out.

    Args:
        silhouette: mean silhouette by Euclidean distance, over as many works as `queries`; None
            with fewer than two classes.
        silhouette_cosine: the same by cosine distance.
        silhouette_by_class: both, over the works of each class.
        parts: both silhouettes of each named part of the vector, brought to unit norm by itself.
    """

    silhouette: float | None
    silhouette_cosine: float | None
    silhouette_by_class: dict[str, dict[str, float | None]]
    parts: dict[str, dict[str, float | None]]


def evaluate(
    embeddings: Floats,
    labels: Sequence[str],
    k: int = 5,
    *,
    parts: Sequence[Part] = (),
) -> Evaluation:
    """Measure labelled embeddings, leave-one-out.

    Args:
        embeddings: float32 of shape (works, dimension), unit norm.
        labels: one class name a row.
        k: neighbours, >= 1.
        parts: slices of the embedding, in order, as the model's manifest has them.

    Raises:
        BadInput: shapes disagree, a vector is not finite or not of unit norm, or k < 1.
    """
    found = leave_one_out(embeddings, labels, k)
    if sum(part.width for part in parts) not in (0, embeddings.shape[1]):
        raise BadInput(
            f"the widths of the parts must sum to {embeddings.shape[1]}; received "
            f"{[part.width for part in parts]}"
        )
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    asked = sample(len(codes), len(codes))
    whole = silhouette(embeddings, codes, asked)
    by_part: dict[str, Silhouette] = {
        name: whole if len(parts) == 1 else silhouette(embeddings[:, columns], codes, asked)
        for name, columns in columns_of(parts).items()
    }
    reasons = {
        "silhouette": whole.reason,
        **{f"parts.{name}": part.reason for name, part in by_part.items()},
    }
    fields = {name: getattr(found, name) for name in Retrieval.__dataclass_fields__}
    fields["reasons"] = found.reasons | {name: why for name, why in reasons.items() if why}
    return Evaluation(
        **fields,
        silhouette=whole.euclidean,
        silhouette_cosine=whole.cosine,
        silhouette_by_class={
            str(name): _both(*found) for name, found in zip(names, whole.by_class, strict=True)
        },
        parts={name: _both(part.euclidean, part.cosine) for name, part in by_part.items()},
    )


def _both(euclidean: float | None, cosine: float | None) -> dict[str, float | None]:
    return {"silhouette": euclidean, "silhouette_cosine": cosine}


def leave_one_out(
    embeddings: Floats, labels: Sequence[str], k: int = 5, *, exclude: Groups | None = None
) -> Retrieval:
    """The same without the silhouettes.

    Args:
        exclude: a group a row (artist, copies of one work), None for a work in no group; works of
            the query's own group cannot be found by it.
    """
    check_labelled(embeddings, labels, k)
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    (groups,) = group_codes(exclude, sizes=(len(codes),))
    asked = sample(len(codes), len(codes))
    queries, gallery = among_themselves(embeddings, codes, groups, asked)
    scores = per_query(queries, gallery, k)
    return summarise(scores, queries, gallery, names.tolist(), codes, k)


def against_gallery(
    embeddings: Floats,
    labels: Sequence[str],
    gallery: Floats,
    gallery_labels: Sequence[str],
    k: int = 5,
    *,
    exclude: tuple[Groups, Groups] | None = None,
) -> Retrieval:
    """Measure what works that are not in a gallery find in it.

    Args:
        embeddings, labels: of the queries, as in `evaluate`.
        gallery, gallery_labels: of the works that are searched.
        exclude: groups of the queries and of the gallery.
    """
    check_labelled(embeddings, labels, k)
    check_labelled(gallery, gallery_labels, k)
    both = np.asarray([*labels, *gallery_labels], dtype=str)
    names, codes = np.unique(both, return_inverse=True)
    groups = group_codes(*(exclude or (None, None)), sizes=(len(labels), len(gallery_labels)))
    asked = sample(len(labels), len(gallery))
    searched = Gallery(gallery, codes[len(labels) :], groups[1])
    nowhere = np.full(len(asked), -1, np.int64)
    queries = Queries(embeddings[asked], codes[asked], groups[0][asked], nowhere)
    scores = per_query(queries, searched, k)
    return summarise(scores, queries, searched, names.tolist(), codes[: len(labels)], k)


def check_labelled(embeddings: Floats, labels: Sequence[str], k: int) -> None:
    """Check what an evaluation is given.

    Raises:
        BadInput: shapes disagree, a vector is not finite or not of unit norm, or k < 1.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise BadInput(
            f"embeddings must be (works, dimension) with one label a row; received "
            f"{embeddings.shape} and {len(labels)} labels"
        )
    if k < 1:
        raise BadInput(f"k must be >= 1; received {k}")
    if len(labels) == 0:
        raise BadInput("an evaluation needs labelled works; received none")
    norms = np.linalg.norm(embeddings, axis=1)
    if not np.isfinite(norms).all() or np.abs(norms - 1).max() > 1e-3:
        raise BadInput("embeddings must be finite and of unit norm; normalise them first")
