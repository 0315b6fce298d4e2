"""What the two parts of the embedding are trained for, and the classifier that goes with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.recipe import Margin

Loss = Callable[[Any, Any], Any]
_AT_A_TIME = 4096


@keras.saving.register_keras_serializable("artkin")
class CosineClasses(keras.layers.Layer):  # type: ignore[misc]
    """Cosines of each head's embedding to its own directions of the classes.

    Embeddings (n, heads, d) to (n, heads, units), from -1 to 1.

    Args:
        units: classes.
    """

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, shape: tuple[int | None, ...]) -> None:
        """The directions, (heads, d, units)."""
        self.kernel = self.add_weight(shape=(*shape[1:], self.units), name="kernel")

    def call(self, inputs: Any) -> Any:
        """Both sides normalised, then multiplied."""
        directions = keras.ops.normalize(self.kernel, axis=1)
        return keras.ops.einsum("nhd,hdc->nhc", keras.ops.normalize(inputs, axis=-1), directions)

    def get_config(self) -> dict[str, Any]:
        """As Keras wants it."""
        return {**super().get_config(), "units": self.units}


def style_loss(margin: Margin | None) -> Loss:
    """Loss of (classes' codes (n,), classifier's outputs (n, classes), or with a margin those of
    every head (n, heads, classes)), one number a work, the mean of its heads'."""

    def softmax(codes: Any, outputs: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(codes, outputs, from_logits=True)

    def with_margin(codes: Any, outputs: Any) -> Any:
        assert margin is not None
        right = keras.ops.one_hot(keras.ops.reshape(codes, (-1, 1)), outputs.shape[-1])
        logits = margin.scale * (outputs - margin.margin * right)
        right = keras.ops.broadcast_to(right, keras.ops.shape(logits))
        losses = keras.losses.categorical_crossentropy(right, logits, from_logits=True)
        return keras.ops.mean(losses, axis=-1)

    return with_margin if margin else softmax


def work_loss(targets: NDArray[np.float32], temperature: float) -> Loss:
    """Loss of (rows of `targets` (n,), unit-norm work parts (n, d)): each must be nearer to its own
    target than to any other's (InfoNCE, van den Oord et al., arXiv:1807.03748, against all).

    Args:
        targets: float32 (works, d), unit norm.
    """
    table = keras.ops.convert_to_tensor(targets.T)

    def loss(rows: Any, parts: Any) -> Any:
        cosines = keras.ops.matmul(parts, table) / temperature
        return keras.losses.sparse_categorical_crossentropy(rows, cosines, from_logits=True)

    return loss


def work_targets(
    features: NDArray[np.float32], rows: NDArray[np.int64], dimension: int
) -> NDArray[np.float32]:
    """What the work part learns: features standardised, reduced by PCA and half whitened.

    Half: component i is divided by the square root of its deviation, between plain PCA, which
    the few largest rule, and whitening, which lifts noise to their height.

    Args:
        features: (works, channels), pooled features of the untrained backbone; may be on disk.
        rows: the works trained on.

    Returns:
        float32 (rows, dimension), unit norm; with fewer works or channels than `dimension` the
        rest is zero.
    """
    chunks = [rows[start : start + _AT_A_TIME] for start in range(0, len(rows), _AT_A_TIME)]
    mean = (sum(features[chunk].sum(axis=0) for chunk in chunks) / len(rows)).astype(np.float32)
    covariance = np.zeros((features.shape[1], features.shape[1]), np.float32)
    for chunk in chunks:
        centred = features[chunk] - mean
        covariance += centred.T @ centred / np.float32(len(rows))
    deviation = np.sqrt(np.diag(covariance)) + np.float32(1e-3)
    values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    largest = slice(None, -1 - min(dimension, len(rows) - 1), -1)
    values, vectors = values[largest], vectors[:, largest]
    projection = vectors * np.maximum(values, 1e-12) ** -0.25
    targets = np.zeros((len(rows), dimension), np.float32)
    for number, chunk in enumerate(chunks):
        part = slice(number * _AT_A_TIME, number * _AT_A_TIME + len(chunk))
        targets[part, : len(values)] = (features[chunk] - mean) / deviation @ projection
    targets /= np.maximum(np.linalg.norm(targets, axis=1, keepdims=True), 1e-12)
    return targets
