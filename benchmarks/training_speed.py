"""An epoch of phases 1 and 2 from cached frozen layers against the same epoch from the pixels.

    python -m benchmarks.training_speed examples/art_institute

Preset `recommended`: phase 1 trains the head, phase 2 the backbone from block 7 on; phase 1 of
`artkin` trains much larger heads. Whole epochs, one of each kind in turn. Writes
`benchmarks/results/training_speed.json`: the uncached epoch's time over the cached one's, median,
least and most of the rounds, and what making the cache costs once, in uncached epochs. Then a step
of the whole network of `artkin`: on pictures of the recipe's size over one on the smaller ones of
its phase 3, and without oneDNN over with it, each in a process of its own, in turn.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks import command
from index.collection import read_collection
from training.dataset import prepare_dataset
from training.fit import Fit
from training.losses import style_loss
from training.network import build_network, freeze, resized, seeded_backbone
from training.prefix_cache import PixelViews, Views
from training.presets import load_preset

ROUNDS = 5
# Preset, number of the phase, where the trained part of the backbone begins.
PHASES = {
    "phase_1": ("recommended", 1, None),
    "phase_2_block7": ("recommended", 2, "block7"),
    "phase_1_artkin": ("artkin", 1, None),
}


def main() -> None:
    """Measure and write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("data", type=command.folder)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.training_speed {options.data}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rounds": ROUNDS,
    }
    for name, (preset, number, start) in PHASES.items():
        with TemporaryDirectory() as folder:
            fit = _fit(options.data, preset, Path(folder))
            result["works"] = len(fit.dataset.parts["train"])
            result[name] = _phase(fit, number, start)
    steps = [(_step(), _step(scaled=False), _step(onednn="0")) for _ in range(ROUNDS)]
    result["step_of_whole_size_over_scaled"] = _spread([whole / step for step, whole, _ in steps])
    result["step_without_onednn_over_with"] = _spread([slow / step for step, _, slow in steps])
    path = Path("benchmarks/results/training_speed.json")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _fit(data: Path, preset: str, folder: Path) -> Fit:
    recipe = load_preset(preset)
    dataset = prepare_dataset(read_collection(data), recipe.size, folder)
    backbone = seeded_backbone(recipe)
    network = build_network(recipe, backbone, len(dataset.classes))
    return Fit(network, backbone, dataset, recipe, folder)


def _phase(fit: Fit, number: int, start: str | None) -> dict[str, Any]:
    phase = replace(fit.recipe.phases[number - 1], schedule="constant")
    cut = freeze(fit.network, start)
    began = time.monotonic()
    cached = fit.views.of(cut, number)
    caching = time.monotonic() - began
    pixels = PixelViews(fit.dataset.pixels, fit.recipe.views)
    kinds = {
        "cached": (fit._compiled(cut, phase), cached),
        "uncached": (fit._compiled(replace(cut, frozen=[]), phase), pixels),
    }
    for model, views in kinds.values():
        _epoch(fit, model, views)  # traced and warm
    seconds: dict[str, list[float]] = {"cached": [], "uncached": []}
    for _ in range(ROUNDS):
        for kind, (model, views) in kinds.items():
            began = time.monotonic()
            _epoch(fit, model, views)
            seconds[kind].append(time.monotonic() - began)
    return {
        "uncached_over_cached": _spread(np.divide(seconds["uncached"], seconds["cached"])),
        "cache_in_uncached_epochs": caching / float(np.median(seconds["uncached"])),
    }


def _epoch(fit: Fit, model: keras.Model, views: Views) -> None:
    rng = np.random.default_rng(0)
    train = fit.dataset.parts["train"]
    order = rng.permutation(len(train))
    for start in range(0, len(order), fit.recipe.batch):
        chosen = order[start : start + fit.recipe.batch]
        labels = fit.dataset.labels[train[chosen]]
        answers = [labels, chosen] if fit.recipe.work else labels
        model.train_on_batch(views.varied(train[chosen], rng), answers)


def step_seconds(scaled: bool) -> float:
    """A training step of the whole network for the style alone, the median of eight."""
    recipe = load_preset("artkin")
    size = recipe.trained_size(recipe.phases[-1]) if scaled else recipe.size
    network = build_network(recipe, seeded_backbone(recipe), 10)
    freeze(network, 0)
    model = resized(keras.Model(network.input, network.outputs[0]), size)
    model.compile("adam", style_loss(recipe.margin), jit_compile=False)
    pixels = np.zeros((recipe.batch, size, size, 3), np.uint8)
    labels = np.zeros(recipe.batch, np.int64)
    model.train_on_batch(pixels, labels)
    seconds = []
    for _ in range(8):
        began = time.monotonic()
        model.train_on_batch(pixels, labels)
        seconds.append(time.monotonic() - began)
    return float(np.median(seconds))


def _step(*, scaled: bool = True, onednn: str = "1") -> float:
    program = f"from benchmarks.training_speed import step_seconds; print(step_seconds({scaled}))"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _spread(ratios: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    return {
        "median": float(np.median(ratios)),
        "least": float(np.min(ratios)),
        "most": float(np.max(ratios)),
    }


if __name__ == "__main__":
    command.run(main)
