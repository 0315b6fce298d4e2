"""A release measured more strictly, and what its figures have to beat.

Every protocol and baseline has a `note`: what was measured, or why nothing was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.catalogue import Entry
from index.filters import facet_value
from index.looks import colour_histogram, copies, copy_sketch, looked_at, pictures
from index.progress import track
from index.release import Release
from index.robustness import same_work_recall
from index.space.encoder import Encoder
from index.space.metrics import against_gallery, leave_one_out
from index.space.model import Model
from index.space.preprocessing import to_pixels
from index.space.retrieval import Retrieval

ROBUSTNESS_WORKS = 500
_NOBODY = "no work has a label"
# As catalogues say it in English; "Artist unknown (French, 19th century)" is not one artist.
_NAMELESS = ("unknown", "artist unknown", "unidentified", "anonymous")
Measured = dict[str, Any]


def embeddings_of(release: Release, entries: Sequence[Entry]) -> NDArray[np.float32]:
    """float32 (entries, dimension)."""
    return release.vectors.get(np.asarray([entry.row for entry in entries], np.int64))


def labels_of(entries: Sequence[Entry]) -> list[str]:
    """Their classes; each must have one."""
    return [str(entry.label) for entry in entries]


def against_seen(
    release: Release, unseen: Sequence[Entry], seen: Sequence[Entry], k: int
) -> Measured:
    """Works the model has not seen ask those it has, as a visitor's picture asks a collection."""
    if not unseen or not seen:
        missing = "has not seen" if not unseen else "has seen"
        return _measured(None, f"needs labelled works that the model {missing}; there is none")
    found = against_gallery(
        embeddings_of(release, unseen),
        labels_of(unseen),
        embeddings_of(release, seen),
        labels_of(seen),
        k,
    )
    return _measured(found.as_dict(), "unseen works ask the labelled works that the model has seen")


def artist_disjoint(release: Release, entries: Sequence[Entry], k: int) -> Measured:
    """Leave-one-out in which no work finds another of its own artist."""
    if not entries:
        return _measured(None, _NOBODY)
    artists = [_artist(entry) for entry in entries]
    if not any(artists):
        return _measured(None, "no work has an artist; give the manifest a column `artist`")
    found = leave_one_out(embeddings_of(release, entries), labels_of(entries), k, exclude=artists)
    nameless = sum(not artist for artist in artists)
    note = f"no work finds its own artist's; {nameless} without an artist's name find all"
    return _measured(found.as_dict(), note)


def _artist(entry: Entry) -> str:
    """The name as filters compare it, or "" of nobody in particular."""
    name = facet_value("artist", entry.metadata.get("artist", ""))
    return "" if name.startswith(_NAMELESS) else name


def looks(release: Release, entries: Sequence[Entry], k: int, model: Model | None) -> Measured:
    """What needs the pictures: leave-one-out without copies, and the baselines.

    Returns:
        `near_duplicate_disjoint` and `baselines`.
    """
    if not entries:
        return {
            "near_duplicate_disjoint": _measured(None, _NOBODY),
            "baselines": {"works": 0, "note": _NOBODY, "precision": {}, "reasons": {}},
        }
    chosen = looked_at(entries)
    shown = track(pictures(release, chosen), len(chosen), "looking at pictures")
    seen = [(colour_histogram(image), copy_sketch(image)) for image in shown]
    histograms = np.stack([histogram for histogram, _ in seen])
    groups = copies(np.stack([hashed for _, hashed in seen]))
    embeddings, labels = embeddings_of(release, chosen), labels_of(chosen)
    own = leave_one_out(embeddings, labels, k)
    apart = leave_one_out(embeddings, labels, k, exclude=groups) if any(groups) else own
    found = sum(group is not None for group in groups)
    note = f"no work finds a copy of itself; {found} of the {len(chosen)} works looked at have one"
    return {
        "near_duplicate_disjoint": _measured(apart.as_dict(), note),
        "baselines": _baselines(own, histograms, labels, k, model),
    }


def _baselines(
    own: Retrieval,
    histograms: NDArray[np.float32],
    labels: Sequence[str],
    k: int,
    model: Model | None,
) -> Measured:
    histogram = leave_one_out(histograms, labels, k)
    untrained = model.manifest.report.get("untrained_precision") if model and k == 5 else None
    reasons = dict.fromkeys(("model", "chance", "colour_histogram"), own.reasons.get("precision"))
    if model is None:
        reasons["imagenet_features"] = "its training measured them: name the model with --model"
    elif untrained is None:
        reasons["imagenet_features"] = "the model's training did not report them for this k"
    return {
        "works": len(labels),
        "note": "P@k of the same works by other means; ImageNet features as training measured "
        "them on its test works",
        "precision": {
            "model": asdict(own.measures[f"precision_at_{k}"]),
            "imagenet_features": _alone(untrained),
            "colour_histogram": asdict(histogram.measures[f"precision_at_{k}"]),
            "chance": _alone(own.chance),
        },
        "reasons": {name: reason for name, reason in reasons.items() if reason},
    }


def robustness(release: Release, entries: Sequence[Entry], encoder: Encoder) -> Measured:
    """Same-work recall@1 of at most 500 of these works, among all works of the release."""
    chosen = looked_at(entries, ROBUSTNESS_WORKS)
    spec = encoder.model.manifest.preprocessing
    everything = list(release.catalogue.entries())
    found = same_work_recall(
        track(pictures(release, chosen), len(chosen), "asking with changed pictures"),
        lambda images: encoder.encode(np.stack([to_pixels(image, spec) for image in images])),
        embeddings_of(release, everything),
        [entry.row for entry in chosen],
        [entry.sha256 or entry.id for entry in everything],
    )
    return found.as_dict()


def _measured(measured: Measured | None, note: str) -> Measured:
    return {"measured": measured, "note": note}


def _alone(value: float | None) -> Measured:
    return {"value": value, "low": None, "high": None}
