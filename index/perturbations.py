"""What happens to a picture of a work before somebody asks with it: eight small accidents.

Each is a pure function of an RGB image; its parameters are its constants, measured in the
picture's own sides so that pictures of any size suffer alike. Together they are the robustness
set (`robustness.py`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from index.space.preprocessing import BACKGROUND

_WALL = (205, 200, 190)


def crop(image: Image.Image) -> Image.Image:
    """80 % of each side, not the middle: 12 % is cut off on the left and 8 % at the top."""
    width, height = image.size
    box = (0.12 * width, 0.08 * height, 0.92 * width, 0.88 * height)
    left, top, right, bottom = (round(side) for side in box)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def jpeg(image: Image.Image) -> Image.Image:
    """JPEG of quality 30, its colours at half the resolution."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30, subsampling="4:2:0")
    return Image.open(file).convert("RGB")


def blur(image: Image.Image) -> Image.Image:
    """Gaussian blur of a radius of 1 % of the shorter side: out of focus."""
    return image.filter(ImageFilter.GaussianBlur(0.01 * min(image.size)))


def greyscale(image: Image.Image) -> Image.Image:
    """Luma alone (ITU-R 601): an old reproduction."""
    return image.convert("L").convert("RGB")


def rotation(image: Image.Image) -> Image.Image:
    """5 degrees counter-clockwise about the middle, the corners filled with the ground colour."""
    return image.rotate(5, Image.Resampling.BICUBIC, fillcolor=BACKGROUND)


def wall(image: Image.Image) -> Image.Image:
    """A photograph on a wall, from the side: the corners move in by 4 to 14 % of the sides, and the
    light falls from 1.15 at the upper left to 0.65 at the lower right."""
    width, height = image.size
    corners = [(0.06, 0.04), (0.94, 0.10), (0.92, 0.86), (0.04, 0.96)]
    moved = [(x * width, y * height) for x, y in corners]
    seen = image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        _perspective(moved, [(0, 0), (width, 0), (width, height), (0, height)]),
        Image.Resampling.BICUBIC,
        fillcolor=_WALL,
    )
    across = np.linspace(0, 0.5, width)[None, :, None] + np.linspace(0, 0.5, height)[:, None, None]
    return _scaled(seen, 1.15 - 0.5 * across)


def frame(image: Image.Image) -> Image.Image:
    """A wooden frame of 8 % of the longer side with a gilt edge of 2 % inside it."""
    width, height = image.size
    wood, gilt = (max(round(part * max(image.size)), 1) for part in (0.08, 0.02))
    edge = wood + gilt
    framed = Image.new("RGB", (width + 2 * edge, height + 2 * edge), (92, 64, 38))
    framed.paste((196, 164, 92), (wood, wood, wood + 2 * gilt + width, wood + 2 * gilt + height))
    framed.paste(image, (edge, edge))
    return framed


def white_balance(image: Image.Image) -> Image.Image:
    """A camera set for daylight under lamps: red x 1.15, green x 1, blue x 0.75."""
    return _scaled(image, np.array([1.15, 1.0, 0.75]))


PERTURBATIONS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    function.__name__: function
    for function in (crop, jpeg, blur, greyscale, rotation, wall, frame, white_balance)
}


def _scaled(image: Image.Image, by: NDArray[np.float64]) -> Image.Image:
    pixels = np.asarray(image, np.float64) * by
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _perspective(
    target: list[tuple[float, float]], source: list[tuple[float, float]]
) -> list[float]:
    """Pillow's eight numbers (a..h): x' = (ax + by + c) / (gx + hy + 1), y' with d, e, f."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    found: list[float] = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    return found
