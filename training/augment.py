"""How a picture is varied while training: only in ways that leave a work the work it is.

Shown in part, mirrored, and half the time with one of the accidents that happen to pictures of a
work: out of focus, JPEG, half or wholly grey, turned a little, in uneven or coloured light, in a
frame. Each is as strong as chance has it. The kinds are those of the robustness set
(`index/perturbations.py`), where pictures of works that were not trained on are changed; a
photograph from the side is left to be met there for the first time. A work's colours are its style:
beyond what light and black-and-white film do to them they stay, and no two works are mixed.
"""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageFilter

SMALLEST_PART = 0.5  # of the area
WIDEST_STRETCH = 0.2  # logarithm of the ratio of a part's sides
Pixels = NDArray[np.uint8]


def varied(pixels: Pixels, views: int, rng: np.random.Generator, size: int | None = None) -> Pixels:
    """Each picture in another way than before.

    Args:
        pixels: uint8 (n, height, width, 3).
        views: see `training.recipe.Recipe`.
        size: side of what is wanted, their own where it is None.

    Returns:
        The same type, and the same shape but for the size.
    """
    sides = (size, size) if size else pixels.shape[1:3]
    if views > 2:
        return _changed(pixels, rng, sides)
    if sides != pixels.shape[1:3]:
        whole = np.tile(np.array([0, 0, 1, 1], np.float32), (len(pixels), 1))
        pixels = _resized(pixels, whole, sides)
    if views == 2:
        chosen = rng.random(len(pixels)) < 0.5
        pixels = pixels.copy()
        pixels[chosen] = pixels[chosen, :, ::-1]
    return pixels


def fixed_view(pixels: Pixels, view: int, start: int) -> Pixels:
    """View 0 is the pictures, 1 their mirror images, others are changed, always in the same way.

    Args:
        pixels: uint8 (n, height, width, 3).
        start: number of the first of them, of which the changes are a function.
    """
    if view == 0:
        return pixels
    if view == 1:
        return np.ascontiguousarray(pixels[:, :, ::-1])
    return _changed(pixels, np.random.default_rng([view, start]), pixels.shape[1:3])


def _changed(pixels: Pixels, rng: np.random.Generator, sides: tuple[int, ...]) -> Pixels:
    return np.stack([_accident(part, rng) for part in random_parts(pixels, rng, sides)])


def random_parts(
    pixels: Pixels, rng: np.random.Generator, sides: tuple[int, ...] | None = None
) -> Pixels:
    """A part of each picture, at least half of its area, brought to the picture's (height, width)
    or to another, every other one mirrored."""
    count = len(pixels)
    area = rng.uniform(SMALLEST_PART, 1, count)
    stretch = np.exp(rng.uniform(-WIDEST_STRETCH, WIDEST_STRETCH, count))
    high, wide = np.minimum(1, np.sqrt(area / stretch)), np.minimum(1, np.sqrt(area * stretch))
    top, left = rng.uniform(0, 1 - high), rng.uniform(0, 1 - wide)
    right = left + wide
    mirrored = rng.random(count) < 0.5
    left, right = np.where(mirrored, right, left), np.where(mirrored, left, right)
    boxes = np.stack([top, left, top + high, right], axis=1).astype(np.float32)
    return _resized(pixels, boxes, sides or pixels.shape[1:3])


def _resized(pixels: Pixels, boxes: NDArray[np.float32], sides: tuple[int, ...]) -> Pixels:
    parts = tf.image.crop_and_resize(pixels, boxes, np.arange(len(pixels)), sides)
    return np.asarray(tf.cast(tf.round(parts), tf.uint8))


def _accident(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """One of six, or half the time none; pixels (height, width, 3)."""
    chosen = rng.integers(0, 2 * len(_ACCIDENTS))
    if chosen < len(_ACCIDENTS):
        return np.asarray(_ACCIDENTS[chosen](Image.fromarray(pixels), rng))
    return pixels


def _blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    radius = rng.uniform(0.002, 0.009) * min(image.size)
    return image.filter(ImageFilter.GaussianBlur(radius))


def _jpeg(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(20, 60)))
    return Image.open(file).convert("RGB")


def _grey(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return Image.blend(image, image.convert("L").convert("RGB"), rng.uniform(0.5, 1))


def _turn(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    degrees = rng.uniform(-6, 6)
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_colour(rng))


def _light(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brighter on one side than on the other, with a cast."""
    first, last = rng.uniform(0.6, 1.15, 2)
    across = rng.random() < 0.5
    falloff = np.linspace(first, last, image.width if across else image.height)
    falloff = falloff[None, :, None] if across else falloff[:, None, None]
    lit = np.asarray(image) * falloff * rng.uniform(0.85, 1.15, 3)
    return Image.fromarray(lit.round().clip(0, 255).astype(np.uint8))


def _frame(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Of 4 to 13 % of the shorter side, the picture smaller inside it."""
    edge = round(rng.uniform(0.04, 0.13) * min(image.size))
    framed = Image.new("RGB", image.size, _colour(rng))
    inside = (image.width - 2 * edge, image.height - 2 * edge)
    framed.paste(image.resize(inside, Image.Resampling.BICUBIC), (edge, edge))
    return framed


_ACCIDENTS = (_blur, _jpeg, _grey, _turn, _light, _frame)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue
