"""One preset on the development collection of 4,974 paintings in ten styles, phase by phase.

    python benchmarks/paintings.py seed        ../shared/data/paintings
    python benchmarks/paintings.py recommended ../shared/data/paintings

Writes `benchmarks/results/paintings_<preset>.json`: accuracy, P@5 and silhouette of the test part
after each phase, over the ten classes and over the seven from WikiArt alone (queries and gallery
both restricted to them: the other three come from other sources, so part of what tells them
apart may be the source and not the style). Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from index.space.metrics import evaluate
from training.presets import load_preset
from training.train import train

WIKIART = (
    *("art_nouveau", "baroque", "expressionism", "impressionism", "post_impressionism"),
    *("romanticism", "symbolism"),
)


def main() -> None:
    """Train, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset")
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    recipe = load_preset(options.preset)
    folder = options.run or Path("runs") / f"paintings-{recipe.name}"
    report = train(options.data, recipe, folder, resume=(folder / "run.json").exists())
    result = {
        "command": f"python benchmarks/paintings.py {recipe.name} {options.data}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "recipe": report["recipe"],
        "works": report["works"],
        "kept_phase": report["kept_phase"],
        "phases": [_phase(folder, phase) for phase in report["phases"]],
    }
    path = Path("benchmarks/results") / f"paintings_{recipe.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path)


def _phase(folder: Path, phase: dict[str, Any]) -> dict[str, Any]:
    with np.load(folder / f"phase{phase['phase']}_test.npz") as arrays:
        embeddings, labels = arrays["embeddings"], arrays["labels"]
    chosen = np.isin(labels, WIKIART)
    seven = evaluate(embeddings[chosen], labels[chosen].tolist())
    test = phase["test"]
    return {
        "phase": phase["phase"],
        "trained_from": phase["trained_from"],
        "epochs": len(phase["epochs"]),
        "best_epoch": phase["best_epoch"],
        "kept": phase["kept"],
        "validation": phase["epochs"],
        "test_accuracy": test["accuracy"],
        "test_precision_at_5": test["precision"],
        "test_precision_at_5_wikiart7": seven.precision,
        "test_silhouette": test["silhouette"],
        "test_silhouette_cosine": test["silhouette_cosine"],
        "test_silhouette_cosine_wikiart7": seven.silhouette_cosine,
        "test_precision_by_class": test["precision_by_class"],
    }


if __name__ == "__main__":
    main()
