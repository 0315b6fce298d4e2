"""Many picture files, read and decoded ahead of whoever uses them, in order and in bounded memory.

Threads suffice: Pillow and hashlib let other threads run while they work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from index.archive import decode_file
from index.parallel import parallel_map
from index.space.artefact import sha256_of
from index.space.cores import cores
from index.space.errors import ImageRejected
from index.space.preprocessing import Preprocessing, is_greyscale, to_pixels

T = TypeVar("T")
R = TypeVar("R")

# A decoder takes up to half a GiB, one of them up to 2 (`index.archive`): more cores must not mean
# more.
_THREADS = min(4, cores())


@dataclass(frozen=True)
class Picture:
    """What is kept of a picture file that was read.

    Args:
        sha256: of the file.
        width: of the upright picture as the file holds it, in pixels.
        height: the same.
        greyscale: whether it has no colour.
    """

    sha256: str
    width: int
    height: int
    greyscale: bool


class BadFile(BaseModel):
    """A picture of the collection that cannot be used, and why.

    Args:
        name: its path inside the collection.
        reason: the slug of its `ImageRejected`.
        message: that error's text.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    reason: str
    message: str


def read_picture(path: Path, spec: Preprocessing) -> tuple[Picture, NDArray[np.uint8], Image.Image]:
    """Read, decode and resize one of the collection's pictures.

    Returns:
        What is kept; the model's pixels, uint8 (height, width, 3); and the upright RGB image, a
        large one at a reduced scale, which takes up to a third of a GiB: let go of it soon.

    Raises:
        ImageRejected: it cannot be used; `slug` says why.
    """
    found = decode_file(path)
    pixels = to_pixels(found.image, spec)
    picture = Picture(found.sha256, found.width, found.height, is_greyscale(pixels))
    return picture, pixels, found.image


def read_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        ImageRejected: `unreadable-file`, the system does not let us read it.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise ImageRejected("unreadable-file", f"cannot be read: {error.strerror}") from error


def in_order(
    function: Callable[[T], R], items: Iterable[T]
) -> Iterator[tuple[T, R | ImageRejected]]:
    """Call `function` on items by a few threads; yield items with results, in their order.

    An `ImageRejected` is a result; any other error is raised.
    """
    return parallel_map(lambda item: (item, _attempt(function, item)), items, _THREADS)


def _attempt(function: Callable[[T], R], item: T) -> R | ImageRejected:
    try:
        return function(item)
    except ImageRejected as rejected:
        return rejected
