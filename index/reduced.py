"""Large pictures decoded at a reduced scale: both sides >= 1024, at most 89 megapixels.

JPEG and JPEG 2000 are decoded smaller by Pillow; TIFF, PNG and WebP flow through libvips; GIF, BMP
and AVIF are decoded whole by Pillow and made smaller in bands. Nothing else is done to them here:
orientation, colours and the resize to the model's pixels are those of every picture.
"""

from __future__ import annotations

import math
import struct
from io import FileIO

from PIL import Image

from index.space.errors import ImageRejected
from index.space.picture_limits import ARCHIVE_LIMITS, COLLECTION_LIMITS, check_scans
from index.space.preprocessing import JPEG_DRAFT_SIDE, opaque_8_bit

MAX_MEMORY = 2 << 30  # bytes
_BAND = 32  # rows of the reduced picture made at a time
# Bytes a pixel, measured: Pillow for a whole AVIF (of 10 bits) or JPEG 2000, libvips for a WebP.
_AVIF, _WEBP = 15, 5
_JPEG2000_BAND, _JPEG2000_PICTURE = 5, 4
_WEBP_PIXELS = 16383 * 16383  # the most that the format can hold
_JPEG2000_HEADER = 4 << 20  # bytes in which its codestream begins; a colour profile stands before
_ADVICE = {
    "JPEG": "save it as a JPEG that is not progressive",
    "PNG": "save it as a PNG that is not interlaced",
    "TIFF": "save it with tiles of 256 pixels",
}
_PNG_BANDS = {0: 1, 2: 3, 4: 2}  # by colour type; palettes become RGBA
_COD = 0xFF52  # the marker that has a codestream's number of halvings


def factor_of(width: int, height: int) -> int:
    """How many pixels a side become one."""
    by_side = min(width, height) // JPEG_DRAFT_SIDE
    by_area = math.ceil(math.sqrt(width * height / COLLECTION_LIMITS.max_pixels))
    return max(1, by_side, by_area)


def coefficient_bytes(header: Image.Image) -> int:
    """What a JPEG's decoder holds: all coefficients where more than one scan makes the picture.

    Args:
        header: just opened; its file stands behind the head of the first scan.
    """
    layers = [(h, v) for _, h, v, _ in header.layer]  # type: ignore[attr-defined]
    if not header.info.get("progressive") and _scan_has(len(layers), header):
        return 0
    largest = max(h for h, _ in layers) * max(v for _, v in layers)
    samples: float = sum(h * v for h, v in layers) / largest
    return round(2 * samples * header.width * header.height)


def _scan_has(components: int, header: Image.Image) -> bool:
    file: FileIO = header.fp  # type: ignore[attr-defined]
    place = file.tell()
    if place < 2 * components + 4:  # of several pictures in one file Pillow does not say
        return True
    file.seek(place - 2 * components - 4)  # number, two bytes for each, three of the whole scan
    number = file.read(1)
    file.seek(place)
    return number == bytes([components])


def check_memory(kind: str, needed: int) -> None:
    """Refuse what takes too much memory to decode.

    Raises:
        ImageRejected: `too-much-memory`.
    """
    if needed > MAX_MEMORY:
        advice = _ADVICE.get(kind, "save it as TIFF")
        raise ImageRejected(
            "too-much-memory",
            f"decoding may take {MAX_MEMORY / 1e9:.1f} GB of memory; this {kind} takes "
            f"{needed / 1e9:.1f} GB, since it can't be decoded in parts: {advice}",
        )


def bytes_needed(kind: str, header: Image.Image | None, file: FileIO, size: int) -> int:
    """Memory that `load_reduced` takes at most, told by the header; little ones are left out.

    Args:
        header: as Pillow opened it, or None.
        size: of the file, in bytes.
    """
    if kind == "WEBP":
        return _WEBP * _WEBP_PIXELS + size
    if kind == "TIFF" or header is None:
        return 0  # `index/streamed.py` looks at its tiles
    pixels = header.width * header.height
    match kind:
        case "JPEG":
            return coefficient_bytes(header) + size
        case "JPEG2000":
            a_pixel = _JPEG2000_BAND * len(header.getbands()) + _JPEG2000_PICTURE
            return (a_pixel * pixels >> 2 * _halvings(header, file)) + size
        case "AVIF":
            return _AVIF * pixels + size
        case "PNG":
            return _interlaced_bytes(file) * pixels
        case _:
            return 4 * pixels


def load_reduced(
    kind: str, header: Image.Image | None, file: FileIO
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a large picture.

    Args:
        header: as Pillow opened it; None for a TIFF or WebP that it does not open.

    Returns:
        The picture, 8 bits a sample, not yet turned upright, its colour profile with it; and the
        width and height that the file holds.

    Raises:
        ImageRejected: it cannot be used; `slug` says why. Others as Pillow's decoders.
    """
    if header is None or kind in ("TIFF", "PNG", "WEBP"):
        from index.streamed import load_streamed  # noqa: PLC0415  libvips is loaded when needed

        return load_streamed(kind, header, file)
    size = header.size
    if kind == "JPEG":
        return _load_jpeg(header, file), size
    if kind == "JPEG2000":
        _halve(header, _halvings(header, file))
    header.load()
    return _in_bands(header, factor_of(*header.size)), size


def _load_jpeg(header: Image.Image, file: FileIO) -> Image.Image:
    place = file.tell()
    file.seek(0)
    check_scans(file.read().count(b"\xff\xda"), header.size, ARCHIVE_LIMITS)
    file.seek(place)
    header.draft(None, (JPEG_DRAFT_SIDE, JPEG_DRAFT_SIDE))
    header.load()
    return header


def _halvings(header: Image.Image, file: FileIO) -> int:
    """How often a JPEG 2000 is halved while it is decoded: as its codestream offers."""
    return min(_levels(file), int(math.log2(factor_of(*header.size))))


def _halve(header: Image.Image, times: int) -> None:
    """Make it decode smaller.

    Sizes are rounded up; Pillow 13 rounds to the nearest, and then takes the data for broken.
    """
    width, height = (-(-side >> times) << times for side in header.size)
    header._size = (width, height)
    header.reduce = times  # type: ignore[method-assign, assignment]


def _levels(file: FileIO) -> int:
    file.seek(0)
    data = file.read(_JPEG2000_HEADER)
    at = data.find(b"\xff\x4f\xff\x51") + 2
    while 2 <= at < len(data) - 10 and data[at] == 0xFF:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _COD:
            return data[at + 9]
        at += 2 + length
    return 0


def _interlaced_bytes(file: FileIO) -> int:
    """Bytes a pixel of an interlaced PNG, which is decoded whole; 0 of any other."""
    file.seek(0)
    head = file.read(32)
    bits, colour, interlaced = head[24], head[25], head[28]
    return _PNG_BANDS.get(colour, 4) * max(1, bits // 8) if interlaced else 0


def _in_bands(image: Image.Image, factor: int) -> Image.Image:
    """A decoded picture made smaller, so that no second whole one is needed beside it."""
    smaller: Image.Image | None = None
    for top in range(0, image.height, _BAND * factor):
        bottom = min(image.height, top + _BAND * factor)
        band = opaque_8_bit(image.crop((0, top, image.width, bottom))).reduce(factor)
        if smaller is None:
            smaller = Image.new(band.mode, (band.width, math.ceil(image.height / factor)))
        smaller.paste(band, (0, top // factor))
    assert smaller is not None
    smaller.info = {key: image.info[key] for key in ("icc_profile", "exif") if key in image.info}
    return smaller
