"""Memory and time that large pictures take to be read, each in a process of its own.

    python -m benchmarks.large_pictures            # or with kinds: those alone again

Makes pictures of 20 to 500 megapixels in every format, up to what the format or artkin takes, and
reads each as `artkin index` does: decoded, brought to 224 x 224 pixels and to a thumbnail. Peak
memory is of the whole process, Python and libraries with it. At the end the largest ones and
others together, by four threads. Writes `benchmarks/results/large_pictures.json`; needs 4 GB of
disk and, for making them, 12 GB of memory.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image

from benchmarks import command
from index.parallel import parallel_map
from index.reading import read_picture
from index.space.errors import ImageRejected
from index.space.preprocessing import Preprocessing
from index.thumbnails import make_thumbnail

RESULT = Path("benchmarks/results/large_pictures.json")
SPEC = Preprocessing(height=224, width=224)
MEGAPIXELS = (20, 100, 250, 500)
THREADS = 4
# The largest WebP has 268 megapixels; for an AVIF above 143 more than 2 GiB could be needed.
# OpenJPEG writes no larger picture as one tile.
LESS = {
    "jpeg 2000": (20, 100),
    "webp": (20, 100, 250),
    "webp lossless": (20, 100, 250),
    "avif": (20, 100, 170),
}
TOGETHER = [("bmp", 500)] * 2 + [("webp lossless", 80)] * 2 + [("tiff 16-bit strips", 60)] * 4


def texture(megapixels: int, depth: int, grain: bool = True) -> pyvips.Image:
    """RGB: a coarse ramp under a fine grain."""
    side = int((megapixels * 1e6) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 16 if grain else 1, (1024, 1024, 3), np.uint8)
    times = side // 1024 + 1
    grains = pyvips.Image.new_from_array(noise).replicate(times, times).crop(0, 0, side, side)
    place = pyvips.Image.xyz(side, side) * (220 / side)
    ramp = place[0].bandjoin([place[1], (place[0] + place[1]) / 2])
    image = (ramp + grains).cast("uchar").copy(interpretation="srgb")
    return image if depth == 8 else (image * 257).cast("ushort").copy(interpretation="rgb16")


def by_pillow(kind: str, grain: bool = True, **options: Any) -> Callable[[int, Path], None]:
    """A function that writes such a picture with Pillow."""

    def write(megapixels: int, path: Path) -> None:
        Image.MAX_IMAGE_PIXELS = None
        image = texture(megapixels, 8, grain)
        image = image[0] if kind == "GIF" else image
        Image.fromarray(image.numpy()).save(path, kind, **options)

    return write


def by_libvips(saver: str, depth: int = 8, **options: Any) -> Callable[[int, Path], None]:
    """The same with libvips."""

    def write(megapixels: int, path: Path) -> None:
        getattr(texture(megapixels, depth), saver)(str(path), **options)

    return write


KINDS: dict[str, Callable[[int, Path], None]] = {
    "tiff 16-bit tiles, deflate": by_libvips(
        "tiffsave", 16, tile=True, tile_width=256, tile_height=256, compression="deflate", level=1
    ),
    "tiff 16-bit strips": by_libvips("tiffsave", 16),
    "jpeg 2000": by_pillow("JPEG2000", irreversible=True, quality_layers=[40]),
    # Without grain, with which writing the largest takes half an hour.
    "jpeg 2000 tiles": by_pillow(
        "JPEG2000", False, irreversible=True, quality_layers=[40], tile_size=(2048, 2048)
    ),
    "jpeg": by_libvips("jpegsave", Q=90),
    "jpeg progressive, 4:2:0": by_libvips("jpegsave", Q=80, interlace=True),
    "png 16-bit": by_libvips("pngsave", 16, compression=1),
    "png interlaced": by_libvips("pngsave", interlace=True, compression=1),
    "webp": by_libvips("webpsave", Q=80, effort=0),
    "webp lossless": by_libvips("webpsave", lossless=True, effort=0, Q=0),
    "avif": by_pillow("AVIF", speed=10),
    "bmp": by_pillow("BMP"),
    "gif": by_pillow("GIF"),
}


def main() -> None:
    """Make, read, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("kinds", nargs="*", help=f"to measure anew, of {', '.join(KINDS)}; or all")
    kinds = parser.parse_args().kinds
    if unknown := set(kinds) - KINDS.keys():
        parser.error(f"kinds must be of {', '.join(KINDS)}; received {', '.join(unknown)}")
    before = json.loads(RESULT.read_text(encoding="utf-8"))["pictures"] if kinds else []
    rows = [row for row in before if row["kind"] not in kinds]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        for kind in kinds or KINDS:
            for megapixels in LESS.get(kind, MEGAPIXELS):
                _itself("make", kind, str(megapixels), str(path))
                row = {"kind": kind, "megapixels": megapixels, "file_mb": _megabytes(path)}
                rows.append(row | json.loads(_itself("read", str(path))))
                print(rows[-1], flush=True)
                path.unlink()
        together = json.loads(_itself("together", folder))
    result = {
        "command": "python -m benchmarks.large_pictures",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "pictures": rows,
        "together": together,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _itself(*arguments: str) -> str:
    code = "import sys; from benchmarks.large_pictures import step; step(*sys.argv[1:])"
    called = [sys.executable, "-c", code, *arguments]
    return subprocess.run(called, check=True, capture_output=True, text=True).stdout


def _megabytes(path: Path) -> int:
    return round(path.stat().st_size / 1e6)


def read(*paths: Path) -> dict[str, object]:
    """Read pictures and say what it took; why one was refused."""

    def one(path: Path) -> str | None:
        try:
            _, _, image = read_picture(path, SPEC)
            make_thumbnail(image)
        except ImageRejected as error:
            return f"{error.slug}: {error}"
        return None

    started = time.monotonic()
    refused = [said for said in parallel_map(one, paths, THREADS) if said]
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    seconds = round(time.monotonic() - started, 1)
    return {"peak_mib": round(peak / 1024), "seconds": seconds, "refused": refused}


def together(folder: Path) -> dict[str, object]:
    """Several at once, the threads being four whatever the machine."""
    paths = [folder / str(number) for number in range(len(TOGETHER))]
    for (kind, megapixels), path in zip(TOGETHER, paths, strict=True):
        _itself("make", kind, str(megapixels), str(path))
    what = [f"{kind}, {megapixels} megapixels" for kind, megapixels in TOGETHER]
    return {"pictures": what, **json.loads(_itself("read", *map(str, paths)))}


def step(name: str, *arguments: str) -> None:
    """What a process of its own does: makes a picture, reads some, or a folder of them."""
    if name == "make":
        kind, megapixels, path = arguments
        KINDS[kind](int(megapixels), Path(path))
    else:
        paths = map(Path, arguments)
        print(json.dumps(read(*paths) if name == "read" else together(*paths)))


if __name__ == "__main__":
    command.run(main)
