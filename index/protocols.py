"""A release measured more strictly, and what its figures have to beat.

Every protocol and baseline has a `note`: what was measured, or why nothing was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.catalogue import Entry
from index.filters import facet_value
from index.looks import colour_histogram, copies, copy_sketch, looked_at, pictures
from index.progress import track
from index.release import Release
from index.robustness import same_work_recall
from index.space.encoder import Encoder
from index.space.errors import ImageRejected
from index.space.metrics import against_gallery, leave_one_out
from index.space.model import UNTRAINED, Model
from index.space.preprocessing import to_pixels
from index.space.ranking import nearest
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
            "baselines": {"works": 0, "note": _NOBODY, "measured": {}, "reasons": {}},
        }
    chosen = looked_at(entries)
    untrained = _untrained(model) if model else None
    histograms, sketches, features = [], [], []
    for image in track(pictures(release, chosen), len(chosen), "looking at pictures"):
        histograms.append(colour_histogram(image))
        sketches.append(copy_sketch(image))
        if untrained:
            features.append(_features(untrained, image))
    groups = copies(np.stack(sketches))
    embeddings, labels = embeddings_of(release, chosen), labels_of(chosen)
    own = leave_one_out(embeddings, labels, k)
    apart = leave_one_out(embeddings, labels, k, exclude=groups) if any(groups) else own
    found = sum(group is not None for group in groups)
    note = (
        "no work finds a copy of itself (another file or whole scan; not parts, photographs and "
        f"turned ones); {found} of the {len(chosen)} works looked at have one"
    )
    return {
        "near_duplicate_disjoint": _measured(apart.as_dict(), note),
        "baselines": _baselines(own, histograms, features, labels, k, model),
    }


def _untrained(model: Model) -> Encoder | None:
    there = (model.folder / UNTRAINED).is_dir()
    return Encoder(model, batch=1, saved_model=UNTRAINED) if there else None


def _features(untrained: Encoder, image: Image.Image) -> NDArray[np.float32]:
    spec = untrained.model.manifest.preprocessing
    try:
        pixels = to_pixels(image, spec)
    except ImageRejected:  # the thumbnail is of one colour, as its work nearly is
        pixels = np.zeros((spec.height, spec.width, 3), np.uint8)
    found: NDArray[np.float32] = untrained.encode(pixels[np.newaxis])[0]
    return found


def _baselines(
    own: Retrieval,
    histograms: Sequence[NDArray[np.float32]],
    features: Sequence[NDArray[np.float32]],
    labels: Sequence[str],
    k: int,
    model: Model | None,
) -> Measured:
    measured: dict[str, Retrieval] = {"model": own}
    reasons = {}
    if features:
        measured["imagenet_features"] = leave_one_out(np.stack(features), labels, k)
    elif model is None:
        reasons["imagenet_features"] = "the model brings them: name it with --model"
    else:
        reasons["imagenet_features"] = f"{model.folder} has none; export it again"
    measured["colour_histogram"] = leave_one_out(np.stack(histograms), labels, k)
    return {
        "works": len(labels),
        "note": f"the same {len(labels)} works by other means, from their thumbnails; ImageNet "
        "features are those of the model's network before training",
        "measured": {name: found.as_dict() for name, found in measured.items()},
        "reasons": reasons,
    }


def robustness(release: Release, entries: Sequence[Entry], encoder: Encoder) -> Measured:
    """Same-work recall@1 of at most 500 of these works, among all works of the release."""
    chosen = looked_at(entries, ROBUSTNESS_WORKS)
    spec = encoder.model.manifest.preprocessing
    everything = list(release.catalogue.entries())
    embeddings = embeddings_of(release, everything)
    rows = [entry.row for entry in chosen]
    found = same_work_recall(
        track(pictures(release, chosen), len(chosen), "asking with changed pictures"),
        lambda images: encoder.encode(np.stack([to_pixels(image, spec) for image in images])),
        embeddings,
        rows,
        _works(release, everything, embeddings, rows),
    )
    return found.as_dict()


def _works(
    release: Release, entries: Sequence[Entry], embeddings: NDArray[np.float32], rows: Sequence[int]
) -> list[str]:
    """What each entry is a picture of: equal files are one work, and so is another scan of one
    that asks, which would come first of all others and be called wrong."""
    works = [entry.sha256 or entry.id for entry in entries]
    first = nearest(embeddings, 1, np.asarray(rows, np.int64))
    likely = sorted({*rows, *(int(row) for found in first for row in found)})
    shown = pictures(release, [entries[row] for row in likely])
    groups = copies(np.stack([copy_sketch(image) for image in shown]))
    scans = {
        works[row]: f"copies {group}" for row, group in zip(likely, groups, strict=True) if group
    }
    return [scans.get(work, work) for work in works]


def _measured(measured: Measured | None, note: str) -> Measured:
    return {"measured": measured, "note": note}
