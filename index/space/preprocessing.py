"""A picture's bytes to the model's pixels: one function for training, indexing and serving.

The steps, in order (version 1): format told by content; limits checked on the header; decoded
whole, JPEGs at the smallest DCT scale that keeps both sides >= 1024 (as are all of the
collection's pictures above 89 megapixels, `index/archive.py`); EXIF orientation applied;
transparency laid on white; ICC colours converted to sRGB; squashed to the model's size with an
antialiased bicubic filter. `Preprocessing` travels in the model's manifest: a change of any step
is a new `VERSION`, and a model made with another version is refused.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from index.space.errors import ImageRejected
from index.space.picture_limits import Limits, check_format, check_scans, check_size

VERSION = 1
BACKGROUND = (255, 255, 255)
SMALLEST_REGION = 16  # pixels a side
_ROWS = 16  # of pixels looked at for colour at a time
# Decoding a 12-megapixel JPEG at half scale takes a third of the time, and 1024 is still twice
# any model's input, so the antialiased resize decides the pixels. A constant of the version:
# if it depended on the caller, training and serving would see different pixels.
JPEG_DRAFT_SIDE = 1024

_SRGB = ImageCms.createProfile("sRGB")
# What Pillow's decoders raise on damaged files, found by fuzzing: the last three by AVIF and TIFF.
_DAMAGED = (
    *(OSError, SyntaxError, struct.error, EOFError, LookupError),
    *(RuntimeError, TypeError, ArithmeticError),
)
# Damage is answered by an error or by ignoring it, not by lines on the user's terminal as well.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Preprocessing(BaseModel):
    """The parameters of the steps above, as the model's manifest holds them.

    Args:
        height: rows of the model's input, in pixels.
        width: columns of the model's input, in pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    height: int = Field(ge=32, le=1024)
    width: int = Field(ge=32, le=1024)
    fit: str = "squash"
    resample: str = "bicubic"
    background: tuple[int, int, int] = BACKGROUND


def decode(data: bytes, limits: Limits) -> Image.Image:
    """Decode a picture to upright, opaque 8-bit sRGB.

    Args:
        data: the whole file.
        limits: `UPLOAD_LIMITS` for strangers' pictures, `COLLECTION_LIMITS` for the owner's.

    Returns:
        An RGB image at full size (JPEGs at a reduced scale, both sides >= 1024).

    Raises:
        ImageRejected: the picture cannot be used; its `slug` says why.
    """
    kind = check_format(data[:32], limits)
    with damage_named(), _opened(data, kind, limits) as image:
        check_size(image.size, limits)
        _check_frames(image, data, limits)
        return upright_srgb(_load(image))


def _opened(data: bytes, kind: str, limits: Limits) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[kind])
    except Image.DecompressionBombError as error:  # by Pillow's limit, of which nobody need know
        most, found = f"{limits.max_pixels / 1e6:.0f}", re.search(r"\d+", str(error))
        received = f"{int(found[0]) / 1e6:.0f}" if found else "more"
        raise ImageRejected(
            "too-many-pixels", f"at most {most} megapixels; received {received}"
        ) from error


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what Pillow raises on a picture it cannot open or decode into `ImageRejected`."""
    try:
        yield
    except ImageRejected:
        raise
    except Image.DecompressionBombError as error:
        raise ImageRejected("too-many-pixels", str(error)) from error
    except ValueError as error:  # Pillow: text chunk or colour profile inflates past its bound
        if "too large" in str(error).lower() or "MAX_TEXT" in str(error):
            raise ImageRejected(
                "metadata-too-large", f"the picture's metadata is too large: {error}"
            ) from error
        raise ImageRejected("image-corrupt", f"cannot be decoded: {error}") from error
    except _DAMAGED as error:
        reason = "its header is damaged" if isinstance(error, UnidentifiedImageError) else error
        raise ImageRejected("image-corrupt", f"cannot be decoded: {reason}") from error


def upright_srgb(image: Image.Image) -> Image.Image:
    """The steps after decoding and before resizing: turned upright, opaque, sRGB."""
    return _to_srgb(_upright(image))


def to_pixels(image: Image.Image, spec: Preprocessing) -> NDArray[np.uint8]:
    """Resize a decoded picture to the model's pixels.

    Returns:
        uint8 array of shape (height, width, 3).

    Raises:
        ImageRejected: `blank-image`, every pixel is the same: there is nothing to compare.
    """
    size = (spec.width, spec.height)
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
    # The first row answers for nearly all: the whole comparison takes longer than decoding.
    if (pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all():
        raise ImageRejected("blank-image", "every pixel has the same colour; nothing to compare")
    return pixels


def crop(image: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """A region of an upright picture.

    Args:
        box: left, top, right, bottom as shares of its sides.

    Raises:
        ImageRejected: `region-too-small`, a side has fewer than 16 pixels.
    """
    left, top, right, bottom = box
    corners = (
        *(round(left * image.width), round(top * image.height)),
        *(round(right * image.width), round(bottom * image.height)),
    )
    width, height = corners[2] - corners[0], corners[3] - corners[1]
    if min(width, height) < SMALLEST_REGION:
        raise ImageRejected(
            "region-too-small",
            f"a region must have {SMALLEST_REGION} pixels a side; received {width} x {height} of "
            f"{image.width} x {image.height}",
        )
    return image.crop(corners)


def is_greyscale(pixels: NDArray[np.uint8], tolerance: int = 12) -> bool:
    """Whether a picture has no colour: channels differ by <= tolerance in 99 % of its pixels.

    The tolerance lets through the tint of JPEG compression, not a sepia photograph.
    """
    most_coloured = 0.01 * pixels.shape[0] * pixels.shape[1]
    coloured = 0
    for start in range(0, len(pixels), _ROWS):
        # Channel by channel: numpy takes ten times as long along an axis of three.
        red, green, blue = np.moveaxis(pixels[start : start + _ROWS], -1, 0)
        most = np.maximum(np.maximum(red, green), blue)
        spread = most - np.minimum(np.minimum(red, green), blue)
        coloured += int(np.count_nonzero(spread > tolerance))
        if coloured > most_coloured:  # nearly always after the first rows
            return False
    return True


def read_file(path: Path) -> bytes:
    """Read a picture file whole.

    Raises:
        ImageRejected: `unreadable-file`, the system does not let us read it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageRejected("unreadable-file", f"cannot be read: {error.strerror}") from error


def _check_frames(image: Image.Image, data: bytes, limits: Limits) -> None:
    # MPO (several pictures in one JPEG) counts as frames too, but its first picture is the work.
    if getattr(image, "is_animated", False) and image.format != "MPO" and not limits.animated:
        raise ImageRejected("animated-image", "animations are not taken; send a still picture")
    if image.format in ("JPEG", "MPO"):
        check_scans(data.count(b"\xff\xda"), image.size, limits)


def _load(image: Image.Image) -> Image.Image:
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (JPEG_DRAFT_SIDE, JPEG_DRAFT_SIDE))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (ValueError, TypeError, struct.error, SyntaxError, OSError, KeyError, ZeroDivisionError):
        return image  # a damaged EXIF block says nothing; the picture itself is whole


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = opaque_8_bit(image)
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
            return converted if converted is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a damaged or foreign profile says nothing: the pixels are taken for sRGB
    return image.convert("RGB")


def opaque_8_bit(image: Image.Image) -> Image.Image:
    """Grey, RGB or CMYK of 8 bits a sample, transparency laid on white.

    Raises:
        ImageRejected: `unsupported-image`, floating-point pixels.
    """
    if image.mode.startswith("I"):
        # convert("RGB") saturates everything above 255; 65535 / 257 = 255.
        samples = np.asarray(image).astype(np.int64)
        if image.mode == "I" and samples.max(initial=0) <= 255:
            return Image.fromarray(samples.clip(0, 255).astype(np.uint8))
        return Image.fromarray((samples / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ImageRejected("unsupported-image", "floating-point pixels have no stated white")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(ground, rgba).convert("RGB")
    if image.mode not in ("L", "RGB", "CMYK"):
        return image.convert("RGB")
    return image
