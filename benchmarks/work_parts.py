"""Ways to make the work part of the embedding, for `ablation.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from benchmarks import style_losses as losses
from benchmarks.frozen_features import Floats, FrozenFeatures, Vectors, joined, run, unit
from benchmarks.style_losses import BASE
from index.space.metrics import evaluate
from training.losses import work_loss, work_targets

WEIGHTS = (0.3, 0.45, 0.6)


def taught(frozen: FrozenFeatures, targets: Callable[[Floats], Floats]) -> Vectors:
    """By `targets` of the untrained features: (works, channels) to (works, d), unit norm."""
    assert BASE.work is not None
    features = frozen.features[0, :, frozen.columns["last"]].astype(np.float32)
    loss = work_loss(targets(features), BASE.work.temperature)
    return _trained(frozen, lambda rows, vectors: tf.reduce_mean(loss(rows, vectors)))


def half_whitened(features: Floats) -> Floats:
    """What the preset's work part is taught."""
    assert BASE.work is not None
    return work_targets(features, np.arange(len(features)), BASE.work.dimension)


def principal(features: Floats, *, whiten: bool) -> Floats:
    """Plain or whitened principal components in its place."""
    assert BASE.work is not None
    pca = PCA(BASE.work.dimension, whiten=whiten, random_state=0)
    return unit(pca.fit_transform(StandardScaler().fit_transform(features)).astype(np.float32))


def taught_by_pairs(frozen: FrozenFeatures) -> Vectors:
    """That two views of a work are one, among all of their batch."""
    return _trained(
        frozen, lambda rows, vectors: losses.supervised_contrastive(rows, vectors, None), copies=2
    )


def pooled(frozen: FrozenFeatures, columns: str) -> Vectors:
    """Features as they are, standardised."""
    chosen = frozen.columns[columns]
    seen = frozen.features[0, :, chosen].astype(np.float32)
    mean, deviation = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    return frozen.vectors(lambda features: unit((features - mean) / deviation), chosen)


ROWS: dict[str, Callable[[FrozenFeatures], Vectors]] = {
    "taught the untrained features, half whitened (the preset)": partial(
        taught, targets=half_whitened
    ),
    "taught their principal components": partial(taught, targets=partial(principal, whiten=False)),
    "taught them whitened": partial(taught, targets=partial(principal, whiten=True)),
    "taught that two views of a work are one": taught_by_pairs,
    "block 6, pooled and standardised": partial(pooled, columns="block6"),
    "the last feature map, pooled and standardised": partial(pooled, columns="last"),
}


def measured(frozen: FrozenFeatures, style: Vectors, work: Vectors) -> dict[str, Any]:
    """Figures of a work part, alone and joined with a style part."""
    alone = {"alone": _figures(frozen, work)}
    return alone | {
        f"weight {weight}": _figures(frozen, joined(style, work, weight)) for weight in WEIGHTS
    }


def _figures(frozen: FrozenFeatures, vectors: Vectors) -> dict[str, Any]:
    return {
        "precision_at_5": evaluate(vectors.works, frozen.labels).precision,
        "same_work_recall_at_1": frozen.recall(vectors),
    }


def _trained(frozen: FrozenFeatures, loss: Callable[[Any, Any], Any], **training: Any) -> Vectors:
    assert BASE.work is not None
    keras.utils.set_random_seed(0)
    columns = frozen.columns["pooled"]
    inputs = keras.Input((columns.stop - columns.start,))
    x = keras.layers.BatchNormalization()(inputs)
    x = keras.layers.UnitNormalization()(keras.layers.Dense(BASE.work.dimension)(x))
    model = keras.Model(inputs, x)
    frozen.fit(model, columns, loss, **training)
    return frozen.vectors(partial(run, model), columns)
