"""Time and memory of `artkin evaluate` on a synthetic release of 100,000 works of 512 numbers.

    python -m benchmarks.evaluation

Ten classes, 5,000 artists, two parts, three works in ten unseen, a small picture each. Expected on
two cores: below two minutes and 1.5 GB. Writes `benchmarks/results/evaluation.json`; the
measurement runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import command
from index.catalogue import Catalogue, Entry
from index.evaluation import evaluate_release
from index.protocols import embeddings_of, labels_of
from index.release import CATALOGUE, INDEX, ReleaseManifest, ask_canaries, open_release
from index.releases import new_release_id
from index.space.artefact import new_folder, write_manifest
from index.space.encoder import PRECISION
from index.space.metrics import evaluate
from index.space.model import Part
from index.thumbnails import make_thumbnail
from index.vectors import FaissVectors
from index.writing import write_works

WORKS, DIMENSION, CLASSES, ARTISTS = 100_000, 512, 10, 5_000
PARTS = [Part(name="style", width=256, weight=0.5), Part(name="work", width=256, weight=0.5)]
RESULT = Path(__file__).parent / "results" / "evaluation.json"


def main() -> None:
    """Make the release, measure in another process, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("release", nargs="?", type=command.folder, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.release:
        print(json.dumps(measure(options.release)))
        return
    with tempfile.TemporaryDirectory() as folder:
        release = make_release(Path(folder))
        called = [sys.executable, "-m", "benchmarks.evaluation", str(release)]
        done = subprocess.run(called, check=True, capture_output=True, text=True)
    result = {
        "command": "python -m benchmarks.evaluation",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "works": WORKS,
        "dimension": DIMENSION,
        **json.loads(done.stdout.splitlines()[-1]),  # progress comes before it
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def measure(folder: Path) -> dict[str, Any]:
    """Seconds and peak megabytes of the function that training calls, and of the whole command."""
    release = open_release(folder)
    start = time.monotonic()
    entries = list(release.catalogue.entries())
    found = evaluate(embeddings_of(release, entries), labels_of(entries), parts=PARTS)
    result: dict[str, Any] = {
        "evaluate_seconds": round(time.monotonic() - start, 1),
        "evaluate_peak_mb": _peak_mb(),
        "queries": found.queries,
    }
    del entries
    start = time.monotonic()
    whole = evaluate_release(release)
    result["command_seconds"] = round(time.monotonic() - start, 1)
    result["command_peak_mb"] = _peak_mb()
    result["precision_at_5"] = whole["unseen"]["measures"]["precision_at_5"]
    result["silhouette"] = whole["unseen"]["silhouette"]
    return result


def make_release(releases: Path) -> Path:
    """A folder as `artkin index` makes it, of clusters that overlap."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, CLASSES, WORKS)
    vectors = rng.normal(size=(CLASSES, DIMENSION)).astype(np.float32)[codes]
    vectors += 4.5 * rng.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    picture = make_thumbnail(Image.fromarray(rng.integers(0, 256, (240, 320, 3), np.uint8)))
    works = ((_entry(row, codes[row]), vectors[row], picture) for row in range(WORKS))
    id_ = new_release_id(releases)
    with new_folder(releases / id_) as folder:
        with write_works(folder, works, vectors.shape, lambda written: written[:, :2].tolist()):
            pass
        index = FaissVectors.load(folder / INDEX)
        catalogue = Catalogue(folder / CATALOGUE)
        manifest = ReleaseManifest(
            files={},
            id=id_,
            created="",
            model="synthetic",
            model_digest="",
            preprocessing_version=1,
            precision=PRECISION,
            dimension=DIMENSION,
            parts=PARTS,
            metric="cosine",
            works=WORKS,
            left_out={},
            bad=[],
            canaries=ask_canaries(vectors[:2], index, catalogue),
            confidence=None,
        )
        catalogue.close()
        write_manifest(folder, manifest)
    return releases / id_


def _entry(row: int, code: int) -> Entry:
    artist = {"artist": f"artist {row % ARTISTS}"}
    seen = row % 10 >= 3
    return Entry(
        row, str(row), f"{row}.png", f"class {code}", None, str(row), seen, False, 9, 9, artist
    )


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    command.run(main)
