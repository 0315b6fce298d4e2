"""One preset on the development collection of 4,974 paintings in ten styles, phase by phase.

    python -m benchmarks.paintings seed        ../shared/data/paintings
    python -m benchmarks.paintings recommended ../shared/data/paintings
    python -m benchmarks.paintings artkin      ../shared/data/paintings --seeds 3

Writes `benchmarks/results/paintings_<preset>.json`: what is served, mean of the seeds with the
least and the most, and `precision_at_5_style`, of the style part alone; each seed's phases:
accuracy, P@5 and silhouettes of the test part before training (pooled ImageNet features) and after
each phase, over the ten classes and over the seven from WikiArt alone (queries and gallery both
restricted to them, predictions still one of ten: the other three come from other sources, so part
of what tells them apart may be the source and not the style), and the works found again from
changed pictures of them, all test works among each other. `copies`: the rule that they give for
copies, with its error rates. `other_scans`: of pictures of one work in the whole collection that
are no copies of one file, how many find another first among all its works, and how many are told as
copies by the model's rule; `strangers_told`: the share of all its works, as they are, for which a
different one is told as a copy. Interrupted, the same command goes on.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import command
from index.space.metrics import evaluate, leave_one_out
from index.space.model import Part, columns_of
from training.dataset import load_dataset
from training.export import load_served
from training.inference import compiled
from training.network import parts_of
from training.presets import PRESETS, load_preset
from training.same_work import same_work
from training.train import train

WIKIART = (
    *("art_nouveau", "baroque", "expressionism", "impressionism", "post_impressionism"),
    *("romanticism", "symbolism"),
)


def main() -> None:
    """Train, measure, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("data", type=command.folder)
    parser.add_argument("--seeds", type=command.count, default=1)
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        runs.append(_run(options.preset, options.data, seed))
        print(_write(options.preset, options.data, runs), flush=True)


def _write(preset: str, data: Path, runs: list[dict[str, Any]]) -> Path:
    many = f" --seeds {len(runs)}" if len(runs) > 1 else ""
    result = {
        "command": f"python -m benchmarks.paintings {preset} {data}{many}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **{key: _spread([run["served"][key] for run in runs]) for key in runs[0]["served"]},
        "seeds": runs,
    }
    path = Path("benchmarks/results") / f"paintings_{preset}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def _run(preset: str, data: Path, seed: int) -> dict[str, Any]:
    recipe = load_preset(preset, seed=seed)
    folder = Path("runs") / f"paintings-{preset}-{seed}"
    report = train(data, recipe, folder, resume=(folder / "run.json").exists())
    parts = parts_of(report["recipe"])
    phases = [_phase(folder, phase, parts) for phase in report["phases"]]
    kept = phases[report["kept_phase"] - 1]["test"]
    style = kept["all"]["parts"]["style"]
    again = _same_work(folder, report)
    return {
        "seed": seed,
        "served": {
            "precision_at_5": kept["all"]["precision"],
            "precision_at_5_wikiart7": kept["wikiart7"]["precision"],
            "accuracy": kept["all"]["accuracy"],
            "precision_at_5_style": kept["all"]["precision_by_part"]["style"],
            "silhouette_cosine_style": style["silhouette_cosine"],
            "same_work_recall_at_1": again["recall_at_1"],
        },
        "copies": again["copies"],
        "other_scans": _other_scans(folder, report),
        "seconds": report["seconds"],
        "recipe": report["recipe"],
        "works": report["works"],
        "kept_phase": report["kept_phase"],
        "untrained": _test(folder, 0, []) | {"same_work": report["untrained"]["same_work"]},
        "phases": phases,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "least": min(values), "most": max(values)}


def _same_work(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Of all test works, where the report has a sample of them."""
    served = compiled(load_served(folder, report))
    with np.load(folder / f"phase{report['kept_phase']}_test.npz") as arrays:
        gallery = arrays["embeddings"]
    work = slice(report["recipe"]["dimension"], None) if report["recipe"]["work"] else None
    return same_work(load_dataset(folder), served, gallery, work, asked=len(gallery))


def _other_scans(folder: Path, report: dict[str, Any]) -> dict[str, int | float | None]:
    dataset = load_dataset(folder)
    run = compiled(load_served(folder, report))
    chunks = np.array_split(np.arange(len(dataset.pixels)), -(-len(dataset.pixels) // 64))
    vectors = np.concatenate([run(dataset.pixels[chunk]) for chunk in chunks])
    same = np.asarray(dataset.same)
    names, counts = np.unique(same, return_counts=True)
    asked = np.flatnonzero(np.isin(same, names[counts > 1]))
    cosines = _without_itself(vectors, asked)
    first = int((same[cosines.argmax(axis=1)] == same[asked]).sum())
    told = strangers = None
    kept = report["phases"][report["kept_phase"] - 1]
    if rule := kept["test"]["same_work"]["copies"]:
        work = vectors[:, report["recipe"]["dimension"] :]
        work /= np.linalg.norm(work, axis=1, keepdims=True)
        own = np.where(same == same[asked][:, None], _without_itself(work, asked), -1)
        told = int((own.max(axis=1) >= rule["cosine"]).sum())
        others = np.where(same != same[:, None], work @ work.T, -1)
        strangers = float((others.max(axis=1) >= rule["cosine"]).mean())
    return {
        "asked": len(asked),
        "among": len(same),
        "first": first,
        "told_as_copies": told,
        "strangers_told": strangers,
    }


def _without_itself(vectors: NDArray[np.float32], asked: NDArray[np.int64]) -> NDArray[np.float32]:
    """Cosines of the rows asked about to all, -1 to themselves."""
    cosines = vectors[asked] @ vectors.T
    cosines[np.arange(len(asked)), asked] = -1
    return cosines


def _phase(folder: Path, phase: dict[str, Any], parts: list[Part]) -> dict[str, Any]:
    return {
        "phase": phase["phase"],
        "trained_from": phase["trained_from"],
        "epochs": len(phase["epochs"]),
        "best_epoch": phase["best_epoch"],
        "kept": phase["kept"],
        "validation": phase["epochs"],
        "train_accuracy": phase["train_accuracy"],
        "test": _test(folder, phase["phase"], parts),
        "same_work": phase["test"]["same_work"],
    }


def _test(folder: Path, phase: int, parts: list[Part]) -> dict[str, Any]:
    """Accuracy (where a classifier was trained), P@5, silhouettes: all classes, then seven."""
    with np.load(folder / f"phase{phase}_test.npz") as arrays:
        saved = dict(arrays)
    every = np.ones(len(saved["labels"]), np.bool_)
    wikiart = np.isin(saved["labels"], WIKIART)
    chosen = {"all": every, "wikiart7": wikiart}
    return {name: _measures(saved, works, parts) for name, works in chosen.items()}


def _measures(
    saved: dict[str, Any], chosen: NDArray[np.bool_], parts: list[Part]
) -> dict[str, Any]:
    labels = saved["labels"][chosen]
    right = saved["predicted"][chosen] == labels if "predicted" in saved else None
    embeddings, names = saved["embeddings"][chosen], labels.tolist()
    by_part = {}
    for name, columns in columns_of(parts).items():
        piece = embeddings[:, columns]
        piece = piece / np.linalg.norm(piece, axis=1, keepdims=True)
        by_part[name] = leave_one_out(piece, names).precision
    return {
        "accuracy": None if right is None else float(right.mean()),
        "precision_by_part": by_part,
        **evaluate(embeddings, names, parts=parts).as_dict(),
    }


if __name__ == "__main__":
    command.run(main)
