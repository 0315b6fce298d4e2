"""How a picture is varied while training: only in ways that leave a work the work it is.

Mirrored, and shown in part. Colour is style, so it is left alone.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

SMALLEST_PART = 0.5  # of the area
WIDEST_STRETCH = 0.2  # logarithm of the ratio of a part's sides


def varied(pixels: NDArray[np.uint8], views: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each picture in another way than before.

    Args:
        pixels: uint8 (n, height, width, 3).
        views: see `training.recipe.Recipe`.

    Returns:
        The same shape and type.
    """
    if views > 2:
        return random_parts(pixels, rng)
    if views == 2:
        chosen = rng.random(len(pixels)) < 0.5
        pixels = pixels.copy()
        pixels[chosen] = pixels[chosen, :, ::-1]
    return pixels


def fixed_view(pixels: NDArray[np.uint8], view: int, start: int) -> NDArray[np.uint8]:
    """View 0 is the pictures, 1 their mirror images, others are parts of them, always the same.

    Args:
        pixels: uint8 (n, height, width, 3).
        start: row of the first of them, of which the parts are a function.
    """
    if view == 0:
        return pixels
    if view == 1:
        return np.ascontiguousarray(pixels[:, :, ::-1])
    return random_parts(pixels, np.random.default_rng([view, start]))


def random_parts(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A part of each picture, at least half of its area, brought to the picture's size, every
    other one mirrored."""
    count, height, width, _ = pixels.shape
    area = rng.uniform(SMALLEST_PART, 1, count)
    stretch = np.exp(rng.uniform(-WIDEST_STRETCH, WIDEST_STRETCH, count))
    high, wide = np.minimum(1, np.sqrt(area / stretch)), np.minimum(1, np.sqrt(area * stretch))
    top, left = rng.uniform(0, 1 - high), rng.uniform(0, 1 - wide)
    right = left + wide
    mirrored = rng.random(count) < 0.5
    left, right = np.where(mirrored, right, left), np.where(mirrored, left, right)
    boxes = np.stack([top, left, top + high, right], axis=1).astype(np.float32)
    parts = tf.image.crop_and_resize(pixels, boxes, np.arange(count), (height, width))
    return np.asarray(tf.cast(tf.round(parts), tf.uint8))
