"""The collection's picture files, up to the sizes and kinds that archives hold.

Up to 89 megapixels Pillow decodes a file whole, to the very pixels of an upload. What is larger,
and a TIFF whose samples Pillow does not know, is decoded at a reduced scale (`index/reduced.py`).
How much memory that takes is told by the header, before anything is decoded: more than 2 GiB is
refused, and of what takes more than half a GiB one is decoded at a time, whatever the threads.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from index.reduced import bytes_needed, check_memory, coefficient_bytes, load_reduced
from index.space.errors import ImageRejected
from index.space.picture_limits import ARCHIVE_LIMITS, COLLECTION_LIMITS, check_format, check_size
from index.space.preprocessing import damage_named, decode, upright_srgb

_LARGEST_FILE_READ_WHOLE = 1 << 30  # bytes
_SEVERAL_AT_A_TIME = 512 << 20  # bytes
_large = threading.Lock()
# Bytes a pixel that decoding whole takes in Pillow, measured; other formats take 8 (the picture,
# and once more where its colours are converted).
_WHOLE = {"WEBP": 20, "JPEG2000": 20, "AVIF": 20}
_TRANSPARENT = 16  # the picture, its ground, the two laid together, and without transparency
_TIFF_SUBFILE = 254  # tag; its lowest bit: a smaller version of another picture of the file
_PREVIEWS = (1, 3, 5, 7)
CHANGED_WHILE_READ = "changed-while-read"


@dataclass(frozen=True)
class Decoded:
    """A picture file that was decoded.

    Args:
        image: upright RGB, a large picture's at a reduced scale.
        width: of the upright picture as the file holds it, in pixels.
        height: the same.
        sha256: of the file.
    """

    image: Image.Image
    width: int
    height: int
    sha256: str


def decode_file(path: Path) -> Decoded:
    """Decode one of the collection's pictures.

    Raises:
        ImageRejected: it cannot be used; `slug` says why.
    """
    with _unchanged(path) as file:
        kind = check_format(file.read(32), ARCHIVE_LIMITS)
        header = _header(file, kind)
        if header is not None and _is_decoded_whole(file, kind, header):
            return _decode_whole(file, kind, header)
        return _decode_reduced(file, kind, header)


@contextmanager
def _unchanged(path: Path) -> Iterator[FileIO]:
    """Open a file; what was made of it counts only when it is still the same afterwards.

    Otherwise the pixels could be of one content and the digest of another.
    """
    try:
        # Without a buffer, which would not know that libvips moved the file's position.
        with path.open("rb", buffering=0) as file:
            before = _state(file)
            try:
                yield file
            except ImageRejected:
                _check_state(file, before)
                raise
            _check_state(file, before)
    except OSError as error:
        raise ImageRejected(
            "unreadable-file", f"cannot be read: {error.strerror or error}"
        ) from error


def _state(file: FileIO) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_state(file: FileIO, before: tuple[int, int, int]) -> None:
    if _state(file) != before:
        raise ImageRejected(
            CHANGED_WHILE_READ, "the file was changed while it was read; run the command again"
        )


def _header(file: FileIO, kind: str) -> Image.Image | None:
    """The picture before it is decoded; None for a TIFF or WebP that Pillow does not open.

    `Image.open` would refuse what has more than 179 megapixels, by a limit that is the process's;
    of its plugins only the one for WebP does.
    """
    Image.init()
    file.seek(0)
    with damage_named():
        try:
            header = Image.OPEN[kind][0](file, "")
        except Image.DecompressionBombError:
            return None
        except (SyntaxError, LookupError, TypeError, struct.error) as error:
            if kind == "TIFF":
                return None
            raise UnidentifiedImageError from error
    if kind == "TIFF" and header.tag_v2.get(_TIFF_SUBFILE) in _PREVIEWS:  # type: ignore[attr-defined]
        raise ImageRejected(
            "unsupported-image",
            "a TIFF's first picture must be the work; received a preview of it (a camera's raw "
            "file?): save it as TIFF",
        )
    check_size(header.size, ARCHIVE_LIMITS)
    return header


def _is_decoded_whole(file: FileIO, kind: str, header: Image.Image) -> bool:
    if header.width * header.height > COLLECTION_LIMITS.max_pixels:
        return False
    return kind != "TIFF" or _size(file) <= _LARGEST_FILE_READ_WHOLE  # of several pages, perhaps


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _decode_whole(file: FileIO, kind: str, header: Image.Image) -> Decoded:
    if _size(file) > _LARGEST_FILE_READ_WHOLE:
        raise ImageRejected(
            "file-too-large",
            f"a {kind} file may have {_LARGEST_FILE_READ_WHOLE / 1e9:.1f} GB; received "
            f"{_size(file) / 1e9:.1f} GB: save it as TIFF",
        )
    a_pixel = _WHOLE.get(kind, 8) + (_TRANSPARENT if header.has_transparency_data else 0)
    pixels = header.width * header.height
    needed = coefficient_bytes(header) if kind == "JPEG" else a_pixel * pixels
    with _turn(needed + _size(file)):
        file.seek(0)
        data = file.read()
        image = decode(data, COLLECTION_LIMITS)
        return _decoded(image, header.size, hashlib.sha256(data).hexdigest())


def _decode_reduced(file: FileIO, kind: str, header: Image.Image | None) -> Decoded:
    needed = bytes_needed(kind, header, file, _size(file))
    check_memory(kind, needed)
    with _turn(needed), damage_named():
        image, size = load_reduced(kind, header, file)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return _decoded(upright_srgb(image), size, digest)


def _turn(needed: int) -> AbstractContextManager[object]:
    """Whoever takes much memory waits for the one before."""
    return _large if needed > _SEVERAL_AT_A_TIME else nullcontext()


def _decoded(image: Image.Image, size: tuple[int, int], sha256: str) -> Decoded:
    width, height = size
    if (width > height) != (image.width > image.height):  # its orientation tag turned it
        width, height = height, width
    return Decoded(image, width, height, sha256)
