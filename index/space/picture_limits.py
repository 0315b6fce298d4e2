"""What a picture may be: its format, told by its first bytes, and limits checked on its header."""

from __future__ import annotations

from dataclasses import dataclass, replace

from index.space.errors import ImageRejected

MIN_SIDE = 16

# First bytes of each format; WebP and the ISO-media formats carry theirs behind a length.
_SIGNATURES: tuple[tuple[str, int, bytes], ...] = (
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("WEBP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\x00"),
    ("TIFF", 0, b"MM\x00*"),
    ("TIFF", 0, b"II+\x00"),  # BigTIFF
    ("TIFF", 0, b"MM\x00+"),
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("JPEG2000", 0, b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
    ("JPEG2000", 0, b"\xff\x4f\xff\x51"),
    ("AVIF", 4, b"ftypavif"),
    ("AVIF", 4, b"ftypavis"),  # several pictures
)


@dataclass(frozen=True)
class Limits:
    """What a picture may be; checked on its header, before its pixels are decoded.

    Args:
        formats: names of `sniff` that are taken.
        max_pixels: width x height.
        max_side: longer side, in pixels.
        max_scans: scans of a progressive JPEG.
        max_scan_pixels: its scans x width x height.
        animated: whether the first frame of an animation is taken.
    """

    formats: frozenset[str]
    max_pixels: int
    max_side: int
    max_scans: int = 64
    max_scan_pixels: int = 1_000_000_000
    animated: bool = False


COLLECTION_LIMITS = Limits(
    formats=frozenset({"JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF"}),
    # Pillow's own bound (8 bytes a pixel and a quarter of a GiB): above it every open() warns.
    max_pixels=89_478_485,
    max_side=65_000,
    animated=True,
)
# What the owner's files may be where they are decoded at a reduced scale (`index/archive.py`).
ARCHIVE_LIMITS = replace(COLLECTION_LIMITS, max_pixels=500_000_000, max_scan_pixels=10_000_000_000)
UPLOAD_LIMITS = Limits(
    formats=frozenset({"JPEG", "PNG", "WEBP"}), max_pixels=25_000_000, max_side=16_384
)


def sniff(head: bytes) -> str | None:
    """Name of the format that the first 32 bytes of a file announce, or None."""
    for name, offset, signature in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return name
    return None


def check_format(head: bytes, limits: Limits) -> str:
    """Name of the format that the first 32 bytes of a file announce.

    Raises:
        ImageRejected: `empty-file` or `unsupported-image`.
    """
    if not head:
        raise ImageRejected("empty-file", "the file is empty (0 bytes)")
    kind = sniff(head)
    if kind is None or kind not in limits.formats:
        accepted = ", ".join(sorted(limits.formats))
        found = kind or "no known picture format"
        raise ImageRejected(
            "unsupported-image", f"must be one of {accepted}, told by content; received {found}"
        )
    return kind


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Check width and height.

    Raises:
        ImageRejected: `side-too-long`, `too-many-pixels` or `too-small`.
    """
    width, height = size
    if max(width, height) > limits.max_side:
        raise ImageRejected(
            "side-too-long", f"a side may be {limits.max_side} pixels; received {width} x {height}"
        )
    if width * height > limits.max_pixels:
        raise ImageRejected(
            "too-many-pixels",
            f"at most {limits.max_pixels / 1e6:.0f} megapixels; received {width} x {height}",
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRejected(
            "too-small", f"both sides must be >= {MIN_SIDE} pixels; received {width} x {height}"
        )


def check_scans(scans: int, size: tuple[int, int], limits: Limits) -> None:
    """Check the scans of a progressive JPEG, which is decoded as often as it has some.

    Raises:
        ImageRejected: `too-many-scans`.
    """
    pixels = size[0] * size[1]
    if scans > limits.max_scans or scans * pixels > limits.max_scan_pixels:
        raise ImageRejected(
            "too-many-scans",
            f"a JPEG may have {limits.max_scans} scans and {limits.max_scan_pixels / 1e6:.0f} "
            f"scans x megapixels; received {scans} scans of {pixels / 1e6:.1f} megapixels",
        )
