"""Pictures that break services, and what each must be answered: reference table of hardening.

Made here, not stored: the bombs are small files that claim to be huge.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(width: int = 160, height: int = 120) -> Image.Image:
    """A colourful picture that differs from its mirror images and its turned ones."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 60 * np.sin(x / 11 + y / 7)
    channels = [x * 255 / width, y * 255 / height, 128 + waves]
    return Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG whose header may lie: its data are a hundred zeros."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return PNG + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def rejected() -> dict[str, tuple[bytes, str]]:
    """Uploads that must be refused: what it is -> (file, slug)."""
    jpeg = encoded(photo(), "JPEG", quality=90)
    whole = encoded(photo(), "PNG")
    middle = whole.index(b"IDAT") + 400
    flipped = whole[:middle] + bytes([whole[middle] ^ 0x10]) + whole[middle + 1 :]
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20)))
    profile = chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(64 << 20)))
    frames = [photo(), photo().transpose(Image.Transpose.ROTATE_180)]
    animation = {"save_all": True, "append_images": frames[1:]}
    return {
        "empty": (b"", "empty-file"),
        "text": (b"this is not a picture\n" * 50, "unsupported-image"),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "unsupported-image"),
        "cut jpeg": (jpeg[: len(jpeg) // 2], "image-corrupt"),
        "jpeg of its first 20 bytes": (jpeg[:20], "image-corrupt"),
        "cut png": (whole[: len(whole) // 2], "image-corrupt"),
        "png with a flipped byte": (flipped, "image-corrupt"),
        "1-bit 20000 x 20000": (png(20000, 20000, 1, 0), "too-many-pixels"),
        "12000 x 10000": (png(12000, 10000), "too-many-pixels"),
        "60000 x 60000 header": (png(60000, 60000), "too-many-pixels"),
        "40,000,000 x 1": (png(40_000_000, 1, 8, 0), "side-too-long"),
        "1000 scans": (_scans(1000), "too-many-scans"),
        "zTXt of 2 MiB": (_with_chunk(whole, text), "metadata-too-large"),
        "iCCP of 64 MiB": (_with_chunk(whole, profile), "metadata-too-large"),
        "eps": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            "unsupported-image",
        ),
        "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', _UNSUPPORTED),
        "tiff": (encoded(photo(), "TIFF"), _UNSUPPORTED),
        "gif": (encoded(photo(), "GIF"), _UNSUPPORTED),
        "bmp": (encoded(photo(), "BMP"), _UNSUPPORTED),
        "avif": (encoded(photo(), "AVIF"), _UNSUPPORTED),
        "jpeg 2000": (encoded(photo(), "JPEG2000"), _UNSUPPORTED),
        "heic header": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), _UNSUPPORTED),
        "apng": (encoded(frames[0], "PNG", **animation), "animated-image"),
        "animated webp": (encoded(frames[0], "WEBP", **animation), "animated-image"),
        "png of width 0": (png(0, 10), "image-corrupt"),
        "sliver": (encoded(photo(400, 4), "PNG"), "too-small"),
    }


def accepted() -> dict[str, bytes]:
    """Odd uploads that must be taken: what it is -> file."""
    jpeg = encoded(photo(), "JPEG", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 99
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\xff\xff\xff\xff\0\x06"
    deep = (np.arange(160 * 120, dtype=np.uint32).reshape(120, 160) * 3).astype(np.uint16)
    return {
        "orientation 99": encoded(photo(), "JPEG", exif=exif),
        "broken exif": encoded(photo(), "JPEG", exif=broken),
        "16-bit grey": encoded(Image.fromarray(deep), "PNG"),
        "transparent": encoded(_half_transparent(), "PNG"),
        "transparent webp": encoded(_half_transparent(), "WEBP"),
        "palette with alpha": encoded(_half_transparent().quantize(64), "PNG"),
        "cmyk": encoded(photo().convert("CMYK"), "JPEG"),
        "grey with alpha": encoded(_half_transparent().convert("LA"), "PNG"),
        "random icc": encoded(photo(), "JPEG", icc_profile=bytes(range(256)) * 3),
        "polyglot": jpeg + b"<script>alert(1)</script>PK\x03\x04" + bytes(99),
        "two pictures in one jpeg": encoded(
            photo(), "MPO", save_all=True, append_images=[photo().convert("L").convert("RGB")]
        ),
    }


_UNSUPPORTED = "unsupported-image"


def _half_transparent() -> Image.Image:
    image = photo().convert("RGBA")
    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    return image


def _with_chunk(data: bytes, extra: bytes) -> bytes:
    """Put a chunk behind the header of a PNG."""
    end_of_header = len(PNG) + 25
    return data[:end_of_header] + extra + data[end_of_header:]


def _scans(count: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    data = encoded(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]
