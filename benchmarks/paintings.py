"""One preset on the development collection of 4,974 paintings in ten styles, phase by phase.

    python benchmarks/paintings.py seed        ../shared/data/paintings
    python benchmarks/paintings.py recommended ../shared/data/paintings

Writes `benchmarks/results/paintings_<preset>.json`: accuracy, P@5 and silhouette of the test part
before training (pooled ImageNet features) and after each phase, over the ten classes and over the
seven from WikiArt alone (queries and gallery both restricted to them, predictions still one of
ten: the other three come from other sources, so part of what tells them apart may be the source
and not the style). Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        "untrained": {"test": _test(folder, 0)},
        "phases": [_phase(folder, phase) for phase in report["phases"]],
    }
    path = Path("benchmarks/results") / f"paintings_{recipe.name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path)


def _phase(folder: Path, phase: dict[str, Any]) -> dict[str, Any]:
    return {
        "phase": phase["phase"],
        "trained_from": phase["trained_from"],
        "epochs": len(phase["epochs"]),
        "best_epoch": phase["best_epoch"],
        "kept": phase["kept"],
        "validation": phase["epochs"],
        "test": _test(folder, phase["phase"]),
    }


def _test(folder: Path, phase: int) -> dict[str, Any]:
    """Accuracy (where a classifier was trained), P@5, silhouettes: all classes, then seven."""
    with np.load(folder / f"phase{phase}_test.npz") as arrays:
        saved = dict(arrays)
    every = np.ones(len(saved["labels"]), np.bool_)
    wikiart = np.isin(saved["labels"], WIKIART)
    return {"all": _measures(saved, every), "wikiart7": _measures(saved, wikiart)}


def _measures(saved: dict[str, Any], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    labels = saved["labels"][chosen]
    right = saved["predicted"][chosen] == labels if "predicted" in saved else None
    similarity = evaluate(saved["embeddings"][chosen], labels.tolist()).as_dict()
    return {"accuracy": None if right is None else float(right.mean()), **similarity}


if __name__ == "__main__":
    main()
