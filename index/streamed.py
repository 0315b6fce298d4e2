"""TIFF, PNG and WebP made smaller while they flow through libvips, a few rows at a time.

libvips does nothing here but decode, lay transparency on white and average squares of pixels: all
other steps are Pillow's, as for every picture. Only three of its decoders are ever called, each by
name, after the file's first bytes told its format.
"""

from __future__ import annotations

import logging
from io import FileIO
from typing import Any

import pyvips
from PIL import Image

from index.reduced import check_memory, factor_of
from index.space.errors import ImageRejected
from index.space.picture_limits import ARCHIVE_LIMITS, check_size

_ORIENTATION = 0x0112  # EXIF tag
# Colours as numbers of the eye and not of a screen; libvips knows what they look like.
_MEASURED_COLOURS = {"lab", "labs", "xyz"}
_WHITE = {"uchar": 255, "ushort": 65535}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_LARGEST_SAMPLE = 2  # bytes
_TILE_ROWS = 3  # held at a time by libvips, measured
# libvips writes what it thinks of a file to this logger; what matters of it is raised as well.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
logging.getLogger("pyvips").setLevel(logging.CRITICAL)
pyvips.cache_set_max(0)  # keeps no results: every file is read once
pyvips.concurrency_set(1)  # threads are ours (`index.reading`)
pyvips.block_untrusted_set(True)


def load_streamed(
    kind: str, header: Image.Image | None, file: FileIO
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a TIFF, PNG or WebP at a reduced scale; see `index.reduced.load_reduced`."""
    try:
        image, size = _open_webp(file) if kind == "WEBP" else _open(kind, file)
        # Pillow tells alpha from the other additional samples that a TIFF may have.
        plain = _plain(image, header is None or header.has_transparency_data)
        return _to_pillow(_smaller(plain), image), size
    except pyvips.Error as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        reason = lines[0] if lines else "its data are damaged"
        raise ImageRejected("image-corrupt", f"cannot be decoded: {reason}") from error


def _open(kind: str, file: FileIO) -> tuple[Any, tuple[int, int]]:
    """The picture, and its width and height."""
    file.seek(0)
    source = pyvips.Source.new_from_descriptor(file.fileno())
    load = pyvips.Image.tiffload_source if kind == "TIFF" else pyvips.Image.pngload_source
    image = load(source, access="sequential", fail_on="error")
    check_size((image.width, image.height), ARCHIVE_LIMITS)
    if image.get_typeof("tile-height"):
        row = image.width * image.bands * _LARGEST_SAMPLE
        check_memory(kind, _TILE_ROWS * image.get("tile-height") * row)
    return image, (image.width, image.height)


def _open_webp(file: FileIO) -> tuple[Any, tuple[int, int]]:
    """Read into memory: libvips would map the file, and its being cut would kill the process."""
    file.seek(0)
    data = file.read()
    header = pyvips.Image.webpload_buffer(data)
    size = (header.width, header.height)
    check_size(size, ARCHIVE_LIMITS)
    scale = 1 / factor_of(*size)
    return pyvips.Image.webpload_buffer(data, scale=scale, fail_on="error"), size


def _plain(image: Any, has_alpha: bool) -> Any:
    """Grey, RGB or CMYK of 8 or 16 bits."""
    if image.interpretation in _MEASURED_COLOURS:
        image = image.colourspace("srgb")
    if image.format not in _WHITE:
        raise ImageRejected(
            "unsupported-image",
            f"samples must be whole numbers of 8 or 16 bits; received {image.format}: which of "
            "them is white is not said",
        )
    white = _WHITE[image.format]
    is_cmyk = image.interpretation == "cmyk"
    if image.hasalpha() and has_alpha and not is_cmyk:
        image = image.flatten(background=white, max_alpha=white)
    bands = 4 if is_cmyk else 3 if image.bands >= 3 else 1
    return image.extract_band(0, n=bands)


def _smaller(image: Any) -> Any:
    """8 bits: averaged first, so that the 16 bits count; 65535 / 257 = 255."""
    factor = factor_of(image.width, image.height)
    image = image.shrink(factor, factor)
    return image if image.format == "uchar" else (image / 257).rint().cast("uchar")


def _to_pillow(pixels: Any, opened: Any) -> Image.Image:
    """The picture, with what the file says of its colours and which way it stands."""
    size = (pixels.width, pixels.height)
    image = Image.frombytes(_MODES[pixels.bands], size, pixels.write_to_memory())
    if opened.get_typeof("icc-profile-data"):
        image.info["icc_profile"] = opened.get("icc-profile-data")
    if opened.get_typeof("orientation"):
        exif = Image.Exif()
        exif[_ORIENTATION] = opened.get("orientation")
        image.info["exif"] = exif.tobytes()
    return image
