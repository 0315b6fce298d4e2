"""What collections need: memory and time of a rebuild, memory and time of a search, disk.

    python -m benchmarks.sizing MODEL [--works 50000]

Of a first rebuild of 1,000 small pictures and of one of 50,000: the peak of what the job holds for
itself (RssAnon: vectors in mapped files are the system's to forget). Then of a service over the
release: what it and its decoders hold after a hundred searches, and their median time. Writes
`benchmarks/results/sizing.json`.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks import command
from benchmarks.rebuild import rebuild_command
from benchmarks.robust import milliseconds, peak_of, resident, service, write
from index.release import manifest_of
from index.releases import current_release

FEW = 1000


def main() -> None:
    """Measure, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("--works", type=command.count, default=50_000)
    options = parser.parse_args()
    sizes = [memory(options.model, works) for works in (FEW, options.works)]
    result = {"sizes": sizes, "growth": round(sizes[1]["peak_mib"] / sizes[0]["peak_mib"] - 1, 3)}
    called = f"python -m benchmarks.sizing {options.model} --works {options.works}"
    write("sizing", called, result)


def memory(model: Path, works: int, classes: int = 10) -> dict[str, Any]:
    """Peak memory of a first rebuild of small pictures, no two alike."""
    with tempfile.TemporaryDirectory() as folder:
        art = Path(folder) / "art"
        for number in range(works):
            place = art / f"class{number % classes}" if classes else art
            place.mkdir(parents=True, exist_ok=True)
            _small(number).save(place / f"{number}.jpg", quality=80)
        releases = Path(folder) / "releases"
        peak, seconds = peak_of(rebuild_command(model, art, releases))
        release = current_release(releases)
        report = manifest_of(release).report
        assert report is not None
        size = sum(file.stat().st_size for file in release.iterdir())
        served, search = _serve(model, releases, next(art.rglob("*.jpg")))
    return {
        "works": works,
        "peak_mib": round(peak / 2**20, 1),
        "seconds": round(seconds, 1),
        "stages": report.seconds,
        "release_mib": round(size / 2**20, 1),
        "serve_mib": round(served / 2**20, 1),
        "search_ms": search,
    }


def _serve(model: Path, releases: Path, picture: Path) -> tuple[int, dict[str, float | int]]:
    """Bytes that a service holds after a hundred searches, and what they took."""
    seconds = []
    with service(model, releases) as running, httpx.Client(timeout=60) as client:
        for _ in range(100):
            begun = time.monotonic()
            files = {"image": picture.read_bytes()}
            client.post(f"{running.url}/v1/search", files=files).raise_for_status()
            seconds.append(time.monotonic() - begun)
        return resident(running.process.pid), milliseconds(seconds)


def _small(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).resize((96, 96))


if __name__ == "__main__":
    command.run(main)
