"""What pieces of fine-tuning in the preset `artkin` are worth, on works held out of train.

    python -m benchmarks.fine_tuning ../shared/data/paintings

Trained and validated on the works of `ablation.py`; the test part is never looked at. Phase 1 of
the preset is trained once, every row goes on from it with phase 2, from block 4 on: the same
cached views, in the same order, with other rates for the blocks or without averaged weights.
`difference` is of P@5 of the style part against the preset's phase 2, paired by work, with its
95 % interval; `real` says whether that is more than chance. None of it costs time.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

from benchmarks import command
from benchmarks.frozen_features import split
from benchmarks.paintings import WIKIART
from index.collection import read_collection
from index.space.comparison import compare
from index.space.metrics import evaluate
from training.dataset import Dataset, prepare_dataset
from training.fit import Fit
from training.network import Cut, build_network, seeded_backbone
from training.phase_views import PhaseViews
from training.prefix_cache import Views
from training.presets import load_preset
from training.recipe import Phase, Recipe
from training.schedules import learning_rate

RESULT = Path("benchmarks/results/fine_tuning.json")
ROWS: dict[str, dict[str, Any]] = {
    "the preset's phase 2": {},
    "blocks at a tenth of the heads' rate": {"factors": dict.fromkeys("456", 0.1)},
    "half the rate with every block towards the input": {
        "factors": {"6": 0.5, "5": 0.25, "4": 0.125}
    },
    "weights not averaged": {"average": None},
}


def main() -> None:
    """Train every row and write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("data", type=command.folder)
    options = parser.parse_args()
    preset = load_preset("artkin")
    heads = replace(preset, phases=preset.phases[:1])
    recipe = replace(preset, phases=preset.phases[:2])
    shared: dict[int, Views] = {}
    rows: dict[str, Any] = {}
    base = None
    with TemporaryDirectory() as folder:
        runs = Path(folder)
        every = prepare_dataset(read_collection(options.data), recipe.size, runs)
        train, validation = split(every)
        parts = {"train": train, "validation": validation, "test": validation}
        dataset = replace(every, parts=parts)
        (runs / "heads").mkdir()
        _Fit(heads, dataset, runs / "heads", {}, shared).run()
        for name, change in ROWS.items():
            run = shutil.copytree(runs / "heads", runs / name.replace(" ", "-"))
            reports = _Fit(recipe, dataset, run, change, shared).run().reports
            with np.load(run / "phase2_test.npz") as arrays:
                style = arrays["embeddings"][:, : recipe.dimension]
                labels = arrays["labels"]
            style /= np.linalg.norm(style, axis=1, keepdims=True)
            base = style if base is None else base
            rows[name] = _measures(style, base, labels, reports[1]["test"])
            print(name, rows[name], flush=True)
            result = {
                "command": f"python -m benchmarks.fine_tuning {options.data}",
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "trained": len(train),
                "validated": len(validation),
                "rows": rows,
            }
            RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _measures(style: Any, base: Any, labels: Any, measured: dict[str, Any]) -> dict[str, Any]:
    wikiart = np.isin(labels, WIKIART)
    against = asdict(compare(style, base, labels.tolist()))
    return {
        "accuracy": measured["accuracy"],
        "precision_at_5": asdict(evaluate(style, labels.tolist()).measures["precision_at_5"]),
        "precision_at_5_wikiart7": evaluate(style[wikiart], labels[wikiart].tolist()).precision,
        "difference": against["difference"],
        "real": against["real"],
        "same_work_recall_at_1": measured["same_work"]["recall_at_1"],
    }


class _Fit(Fit):
    """A run of a row.

    Args:
        change: "factors" of the learning rate, by the block's number, 1 for all else; or
            another "average" than the phase's.
        shared: cached views of all runs, by phase.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        folder: Path,
        change: Mapping[str, Any],
        shared: dict[int, Views],
    ) -> None:
        phases = list(recipe.phases)
        if "average" in change:
            phases[-1] = replace(phases[-1], average=change["average"])
        recipe = replace(recipe, phases=tuple(phases))
        backbone = seeded_backbone(recipe)
        network = build_network(recipe, backbone, len(dataset.classes))
        super().__init__(network, backbone, dataset, recipe, folder)
        self._factors = change.get("factors", {})
        self.views = _SharedViews(network, dataset, recipe, folder, shared)

    def _optimizer(self, phase: Phase) -> keras.optimizers.Optimizer:
        average = phase.average
        return BlockwiseAdam(
            self._factors,
            learning_rate(phase, self._steps()),
            use_ema=average is not None,
            ema_momentum=average or 0.99,
        )


class _SharedViews(PhaseViews):
    """The same for all runs."""

    def __init__(
        self,
        network: keras.Model,
        dataset: Dataset,
        recipe: Recipe,
        folder: Path,
        shared: dict[int, Views],
    ) -> None:
        super().__init__(network, dataset, recipe, folder)
        self._shared = shared

    def of(self, cut: Cut, number: int) -> Views:
        """See `PhaseViews`."""
        if number not in self._shared:
            self._shared[number] = super().of(cut, number)
        return self._shared[number]


class BlockwiseAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam at rates that differ by block."""

    def __init__(self, factors: Mapping[str, float], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._factors = factors

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See Keras; at the rate of the variable's block."""
        path = self._trainable_variables[self._get_variable_index(variable)].path
        block = re.match(r"block(\d)", path)
        factor = self._factors.get(block[1], 1.0) if block else 1.0
        super().update_step(gradient, variable, learning_rate * factor)


if __name__ == "__main__":
    command.run(main)
