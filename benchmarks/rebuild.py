"""What a rebuild takes: in time when little changed, and beside the model alone.

    python -m benchmarks.rebuild MODEL DATA

- `incremental`: the pictures of DATA (copied), rebuilt after each of: nothing, one picture changed,
  one moved, one described anew.
- `throughput`: pictures a second of the job (reading, decoding, embedding, thumbnails, keeping)
  over those of OpenVINO alone on the same pictures decoded beforehand, in turn, several times.

Writes `benchmarks/results/rebuild.json`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.robust import write
from index.embedding import BATCH, embed
from index.known import Known
from index.plan import new_plan
from index.release import manifest_of
from index.releases import current_release
from index.source import Source, read_source
from index.space.encoder import Encoder
from index.space.model import Model, load_model
from index.space.picture_limits import COLLECTION_LIMITS
from index.space.preprocessing import decode, to_pixels
from tests.conftest import paint

ROUNDS = 5
PICTURES = 480


def main() -> None:
    """Measure, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("data", type=command.folder)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        art = Path(shutil.copytree(options.data, Path(folder) / "art"))
        result["throughput"] = throughput(load_model(options.model), art, Path(folder))
        print(result, flush=True)
        result["incremental"] = incremental(options.model, art, Path(folder) / "releases")
        print(result, flush=True)
    write("rebuild", f"python -m benchmarks.rebuild {options.model} {options.data}", result)


def incremental(model: Path, art: Path, releases: Path) -> list[dict[str, Any]]:
    """Seconds of a whole `artkin rebuild`, its start-up included, by what changed."""
    pictures = sorted(art.rglob("*.jpg"))
    changed, moved, described = pictures[0], pictures[1], pictures[2]

    def change() -> None:
        paint("cubism", 1).save(changed, "JPEG")

    def move() -> None:
        moved.rename(moved.with_name("moved.jpg"))

    def describe() -> None:
        name = described.relative_to(art).as_posix()
        (art / "manifest.csv").write_text(f"path,title\n{name},Other\n", encoding="utf-8")

    (art / "manifest.csv").write_text("path,title\n", encoding="utf-8")
    steps = {"first": lambda: None, "nothing": lambda: None, "one changed": change}
    steps |= {"one moved": move, "one described anew": describe}
    found = []
    for name, step in steps.items():
        step()
        before = current_release(releases) if releases.exists() else None
        begun = time.monotonic()
        _rebuild(model, art, releases)
        seconds = time.monotonic() - begun
        after = current_release(releases)
        report = manifest_of(after).report
        assert report is not None
        is_new = after != before
        found.append(
            {
                "changed": name,
                "works": manifest_of(after).works,
                "embedded": report.embedded if is_new else 0,
                "seconds": round(seconds, 2),
                "stages": report.seconds if is_new else None,
            }
        )
        print(found[-1], flush=True)
    return found


def throughput(model: Model, art: Path, folder: Path) -> dict[str, Any]:
    """Both in turn, in one process."""
    encoder = Encoder(model, batch=BATCH)
    paths = sorted(art.rglob("*.jpg"))[:PICTURES]
    few = folder / "few"
    few.mkdir()
    for number, path in enumerate(paths):
        shutil.copy(path, few / f"{number}.jpg")
    spec = model.manifest.preprocessing
    pixels = np.stack([to_pixels(decode(p.read_bytes(), COLLECTION_LIMITS), spec) for p in paths])
    rates: dict[str, list[float]] = {"job": [], "alone": []}
    for _ in range(ROUNDS):
        begun = time.monotonic()
        encoder.encode(pixels)  # every stream at work
        rates["alone"].append(len(pixels) / (time.monotonic() - begun))
        with (
            _planned(few) as plan,
            tempfile.TemporaryDirectory() as place,
            Known(Path(place), model, []) as known,
        ):
            missing = plan.note_missing(known)
            begun = time.monotonic()
            embed(plan.missing(), missing, encoder, known)
            rates["job"].append(missing / (time.monotonic() - begun))
    ratios = np.asarray(rates["job"]) / np.asarray(rates["alone"])
    return {
        "pictures": len(pixels),
        "rounds": ROUNDS,
        "job_over_alone": {
            "median": round(float(np.median(ratios)), 3),
            "least": round(float(ratios.min()), 3),
            "most": round(float(ratios.max()), 3),
        },
        "pictures_a_second": {k: round(float(np.median(v)), 1) for k, v in rates.items()},
    }


@contextmanager
def _planned(root: Path) -> Iterator[Any]:
    with new_plan() as plan:
        read_source(Source([root], state=root / "no-state"), plan)
        yield plan


def rebuild_command(model: Path, art: Path, releases: Path) -> list[str]:
    """`artkin rebuild` with a state of its own."""
    places = ["--releases", str(releases), "--state", str(releases.with_name("state"))]
    return [sys.executable, "-m", "artkin", "rebuild", str(art), "--model", str(model), *places]


def _rebuild(model: Path, art: Path, releases: Path) -> None:
    subprocess.run(rebuild_command(model, art, releases), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    command.run(main)
