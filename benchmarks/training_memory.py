"""Memory that training holds for itself, of a collection and of one twice as large.

    python -m benchmarks.training_memory

Painted pictures in two classes, 3,000 and 6,000 (of fewer the batches are smaller); the preset
`artkin` at 64 pixels with two views, an epoch a phase, report and all. The peak is of RssAnon:
pixels and cached features are mapped files, the system's to forget. Writes
`benchmarks/results/training_memory.json`, with the growth in kB a picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import command
from benchmarks.robust import peak_of, write
from tests.conftest import paint
from training.presets import load_preset
from training.train import train

WORKS = (3000, 6000)
SIZE = 64
STYLES = ("cubism", "ukiyo_e")


def main() -> None:
    """Measure, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("data", nargs="?", type=command.folder, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data:
        recipe = load_preset("artkin", size=SIZE)
        phases = tuple(replace(phase, epochs=1) for phase in recipe.phases)
        train(options.data, replace(recipe, phases=phases, views=2), options.data / "run")
        return
    peaks = [_peak(works) for works in WORKS]
    growth = (peaks[1] - peaks[0]) / (WORKS[1] - WORKS[0])
    result = {
        "works": WORKS,
        "peak_mib": [round(peak / 2**20) for peak in peaks],
        "growth_kb_a_picture": round(growth / 1000, 2),
    }
    write("training_memory", "python -m benchmarks.training_memory", result)


def _peak(works: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(works):
            place = Path(folder) / STYLES[number % len(STYLES)]
            place.mkdir(exist_ok=True)
            paint(place.name, number).save(place / f"{number}.jpg")
        return peak_of([sys.executable, "-m", "benchmarks.training_memory", folder])[0]


if __name__ == "__main__":
    command.run(main)
