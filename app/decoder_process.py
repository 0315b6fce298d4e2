"""What a decoding process runs (`decoding.py`): it imports Pillow and no web framework, so that it
starts soon and takes little memory."""

from __future__ import annotations

import resource
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from index.space.picture_limits import UPLOAD_LIMITS
from index.space.preprocessing import Preprocessing, crop, decode, to_pixels


def limit(memory: int) -> None:
    """Let this process take so many bytes of addresses more than it has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    # Where the machine's own memory ends first, this process goes and not the service.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def pixels_of(
    picture: bytes, spec: Preprocessing, box: tuple[float, float, float, float] | None
) -> NDArray[np.uint8]:
    """The model's pixels of an uploaded picture or of a region of it, uint8 (height, width, 3).

    Raises:
        ImageRejected: it cannot be decoded.
    """
    image = decode(picture, UPLOAD_LIMITS)
    return to_pixels(crop(image, box) if box else image, spec)
