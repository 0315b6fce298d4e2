"""What each piece of the preset `artkin` is worth: one change a row, on works held out of train.

    python -m benchmarks.ablation ../shared/data/paintings

Writes `benchmarks/results/ablation.json` and `ablation.md` after every row; interrupted, it goes
on with the rows that are missing. The test part is never looked at: a fifth of the training part,
drawn once with a fixed seed, is the validation on which the recipe was chosen, the other four
fifths are trained on. The backbone is frozen, one run of 15 epochs a row: each style head is
trained on the same cached views, each joined with the same work part. The base is the preset's
heads with eight views, a dropout of 0.5 and a weight of the work of 0.45, which it had until these
rows and fine-tuning spoke for less.
`difference` is of P@5 of the style part against the base, paired by work, with its 95 % interval;
`real` says whether that is more than chance. `cost` is the processor time of training the head
against the base's, trained in the same call; other views, where a row has them, are made before.
Ways to make the work part stand by themselves, each joined with the base's style part at three
weights.
"""

from __future__ import annotations

import json
import os
import platform
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks import command, work_parts
from benchmarks import style_losses as losses
from benchmarks.frozen_features import FrozenFeatures
from benchmarks.frozen_heads import StyleHeads
from benchmarks.style_losses import BASE, PRESET
from index.space.preprocessing import BACKGROUND
from training.augment import random_parts

RESULT = Path("benchmarks/results/ablation.json")
MEASURES = ("precision_at_5_wikiart7", "accuracy", "silhouette_cosine")


# Ways to make a picture square.


def letterbox(image: Image.Image) -> Image.Image:
    """All of it, on the ground colour."""
    return ImageOps.pad(image, (BASE.size, BASE.size), color=BACKGROUND)


def centre_crop(image: Image.Image) -> Image.Image:
    """Its middle, undistorted."""
    return ImageOps.fit(image, (BASE.size, BASE.size))


# Ways to vary pictures, uint8 (n, height, width, 3), beside the preset's own.


def rand_augment(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cubuk et al., NeurIPS 2020, as Keras has it, colours and all; mirrored parts before it."""
    layer = keras.layers.RandAugment(seed=int(rng.integers(2**31)))
    changed = np.asarray(layer(random_parts(pixels, rng), training=True))
    return changed.round().clip(0, 255).astype(np.uint8)


assert BASE.margin is not None

ROWS: dict[str, dict[str, Any]] = {
    "the base": {},
    "one head of 1024": {"heads": 1},
    "last feature map alone": {"columns": "last"},
    "softmax over cosines, no margin": {"loss": partial(losses.cosface, margin=0.0, scale=16.0)},
    "one view": {"views": 1},
    "no hidden layer, one head": {"hidden": 0, "heads": 1},
    "margin 0.35": {"loss": partial(losses.cosface, margin=0.35, scale=16.0)},
    "depthwise activations alone": {"columns": "depthwise"},
    "one view, letterbox instead of squash": {"shape": letterbox},
    "one view, centre crop instead of squash": {"shape": centre_crop},
    "ArcFace, margin 0.5": {"loss": partial(losses.arcface, margin=0.5, scale=16.0)},
    "two views (mirror)": {"views": 2},
    "supervised contrastive, batch 256": {"loss": losses.supervised_contrastive, "batch": 256},
    "weights averaged (EMA 0.99)": {"average": 0.99},
    "margin 0.6": {"loss": partial(losses.cosface, margin=0.6, scale=16.0)},
    "label smoothing 0.1": {"loss": partial(losses.smoothed, share=0.1)},
    "mixup of features (0.2)": {"mixup": 0.2},
    "60 epochs": {"epochs": 60},
    "margin 1.2": {"loss": partial(losses.cosface, margin=1.2, scale=16.0)},
    "scale 10": {"loss": partial(losses.cosface, margin=BASE.margin.margin, scale=10.0)},
    # What bounds all of them: how much is gained by twice as many works to learn from.
    "half of the training works": {"share": 0.5},
    "a quarter of the training works": {"share": 0.25},
    "multi-similarity": {"loss": losses.multi_similarity},
    "proxy anchor": {"loss": losses.proxy_anchor},
    "RandAugment instead of accidents": {"varied_by": rand_augment},
    "parts and mirror, no accidents": {"varied_by": random_parts},
    "last feature map, GeM pooling (p = 3)": {"columns": "gem"},
    "mirror image and six parts averaged in at inference": {"looks": 8},
    "distilled from three heads": {"teachers": 3},
    "style part of 128": {"dimension": 128},
    "style part of 512": {"dimension": 512},
    "LayerNormalization before the head": {"norm": "layer"},
    "classes drawn equally often": {"balanced": True},
    "constant learning rate": {"schedule": "constant"},
    "supervised contrastive beside CosFace": {
        "loss": partial(losses.beside_softmax, loss=losses.supervised_contrastive)
    },
    "middle blocks and the last feature map": {"columns": "all"},
    "eight heads of 128": {"heads": 8},
    "four heads of 512": {"hidden": 2048},
    "no normalization before the head": {"norm": None},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.1": {"dropout": 0.1},
    "no dropout": {"dropout": 0.0},
    "dropout 0.3": {"dropout": 0.3},
    "dropout 0.2, constant learning rate": {"dropout": 0.2, "schedule": "constant"},
    "dropout 0.2, 30 epochs": {"dropout": 0.2, "epochs": 30},
    "5 epochs": {"epochs": 5},
    "30 epochs": {"epochs": 30},
    "mirror image averaged in at inference": {"looks": 2},
    "lite1": {"backbone": "lite1"},
    "lite2": {"backbone": "lite2"},
}


def main() -> None:
    """Train every row that the result lacks."""
    parser = command.Command(__doc__)
    parser.add_argument("data", type=command.folder)
    options = parser.parse_args()
    frozen = FrozenFeatures(options.data, Path("runs/ablation"))
    heads = StyleHeads(frozen, work_parts.taught(frozen, work_parts.half_whitened))
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    result |= {
        "command": f"python -m benchmarks.ablation {options.data}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    rows, parts = result.setdefault("rows", {}), result.setdefault("work_parts", {})
    works = {"trained": len(frozen.train), "validated": len(frozen.validation)}
    if len(rows) < len(ROWS) or len(parts) < len(work_parts.ROWS):
        # What all are compared with; interrupted, it is trained once more.
        first = heads.row()
        seconds = first.pop("cpu_seconds")
        rows.setdefault("the base", first | {"cost": 1.0})
        # What an earlier collection, or another rule for copies, left is another draw.
        result.setdefault("works", works)
        result.setdefault("works_of_work_parts", works)
    for name, make in work_parts.ROWS.items():
        if name not in parts:
            assert heads.base is not None
            parts[name] = work_parts.measured(frozen, heads.base, make(frozen))
            print(name, parts[name], flush=True)
            _write(result)
    for name, change in ROWS.items():
        if name not in rows:
            rows[name] = row = heads.row(**change)
            row["cost"] = round(row.pop("cpu_seconds") / seconds, 2)
            print(name, rows[name], flush=True)
            _write(result)


def _write(result: dict[str, Any]) -> None:
    """The result, and its rows beside it to be read."""
    assert BASE.work is not None
    assert PRESET.work is not None
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    lines = [
        "# Ablation of the preset `artkin`, the heads alone",
        "",
        f"`{result['command']}` writes this table and `ablation.json`; "
        f"{result['works']['trained']} works",
        f"trained on, {result['works']['validated']} held out of training to measure on, none of "
        "the test",
        f"part. The base is the preset's heads as they were, with {BASE.views} views, a dropout of "
        f"{BASE.dropout} and a weight",
        f"of the work of {BASE.work.weight}; these rows and fine-tuning spoke for "
        f"{PRESET.views}, {PRESET.dropout} and {PRESET.work.weight}.",
        "The backbone is frozen. P@5, accuracy and silhouette are of the style part; joined",
        "is with the work part. In brackets 95 % intervals; a difference in bold is real by a",
        "paired test at 5 %, of one run each: of fifty rows two or three are so by chance. Cost is",
        "that of training the heads. Before it every training work goes once through the frozen",
        "network for each of its views; passes are those that a query takes, in lite1 and lite2 of",
        "a larger network. Supervised contrastive and multi-similarity alone train no classifier:",
        "their accuracy means nothing. What takes whole runs (phases, their epochs, the cut, the",
        "size of pictures, the work's weight) is in docs/decisions.md.",
        "",
        "| change | P@5 | difference | seven styles | accuracy | silhouette, cosine "
        "| joined P@5 | same work | cost | views | passes |",
        "|---" * 11 + "|",
    ]
    for name, row in result["rows"].items():
        value, difference = _interval(row["precision_at_5"]), _interval(row["difference"], "+")
        change, joined = ROWS[name], row.get("joined")
        cells = [
            name,
            value,
            f"**{difference}**" if row["real"] else difference,
            *(f"{row[key]:.3f}" for key in MEASURES),
            f"{joined['precision_at_5']:.3f}" if joined else "-",
            f"{joined['same_work_recall_at_1']:.3f}" if joined else "-",
            "-" if row["cost"] is None else f"{row['cost']:.2f}",
            "1" if "shape" in change else str(change.get("views", BASE.views)),
            str(change.get("looks", 1)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## Ways to make the work part",
        "",
        "P@5 / share of changed pictures that find their own work first; the base's style part,",
        "joined with each at three weights. The backbone is as it was downloaded: fine-tuned for",
        "style, its own late blocks forget, what was taught stays. Trained on "
        f"{result['works_of_work_parts']['trained']} works and",
        f"measured on {result['works_of_work_parts']['validated']}: another draw than above where "
        "the numbers are not the same.",
        "",
        f"| work part | alone | {' | '.join(f'weight {share}' for share in work_parts.WEIGHTS)} |",
        "|---" * (2 + len(work_parts.WEIGHTS)) + "|",
    ]
    for name, row in result["work_parts"].items():
        cells = [
            f"{found['precision_at_5']:.3f} / {found['same_work_recall_at_1']:.3f}"
            for found in row.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    RESULT.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _interval(mean: dict[str, float], sign: str = "") -> str:
    return f"{mean['value']:{sign}.3f} ({mean['low']:{sign}.3f} to {mean['high']:{sign}.3f})"


if __name__ == "__main__":
    command.run(main)
