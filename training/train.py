"""`artkin train DATA --preset NAME`: a collection to a training run's folder."""

from __future__ import annotations

import argparse
import errno
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import keras

from index.collection import Collection, add_sources, read_collection
from index.progress import say
from index.space.artefact import new_file
from index.space.errors import ArtkinError, BadInput
from index.space.locking import exclusive
from training.dataset import Dataset, check_same, load_dataset, prepare_dataset, remove_dataset
from training.fit import Fit, what_to_try
from training.inference import on_gpu
from training.network import build_network, seeded_backbone
from training.presets import DEFAULT, PRESETS, load_preset
from training.recipe import Recipe
from training.report import REPORT, write_report
from training.run_file import RUN, check_resumed, write_run

_LOCK = ".lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data", type=Path, help="folder with a folder of pictures a class")
    add_sources(parser)
    parser.add_argument("--preset", default=DEFAULT, help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--run", type=Path, help="folder to work in (runs/PRESET)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument(
        "--backbone", help="lite0 (default), lite1, lite2, b0, b1, b2, b3, v2b0 ... v2b3"
    )
    parser.add_argument("--weights", type=Path, help="a local file of the backbone's weights")
    parser.add_argument("--size", type=int, help="side of the model's input in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of order and first weights")


def main(options: argparse.Namespace) -> None:
    """Run the command."""
    recipe = load_preset(options.preset, options.backbone, options.size, options.seed)
    folder = options.run or Path("runs") / recipe.name
    try:
        train(
            options.data,
            recipe,
            folder,
            weights=options.weights,
            resume=options.resume,
            manifest=options.manifest,
            follow_links=options.follow_links,
        )
    except OSError as error:
        if error.errno != errno.ENOSPC or not (folder / RUN).exists():
            raise
        raise BadInput(
            f"the disk is full ({error.filename or folder}); free some space and go on with "
            "--resume, every whole epoch is kept"
        ) from error
    except ArtkinError:
        raise
    except BaseException:  # Ctrl-C and SIGTERM above all, and what libraries make of them
        if (folder / RUN).exists():
            print(f"{folder} keeps every whole epoch; --resume goes on from there", file=sys.stderr)
        raise
    models = Path("models") if folder.parent == Path("runs") else folder.parent / "models"
    target = models / f"{recipe.name}-1"
    say(f"next: artkin export {shlex.quote(str(folder))} --to {shlex.quote(str(target))}")


def train(
    data: Path,
    recipe: Recipe,
    folder: Path,
    *,
    weights: Path | None = None,
    resume: bool = False,
    manifest: Path | None = None,
    follow_links: bool = False,
) -> dict[str, Any]:
    """Train a recipe on a collection.

    Args:
        weights: a local file of the backbone's.
        resume: go on with the folder's run.
        manifest, follow_links: see `index.collection.read_collection`.

    Returns:
        The report, also in `report.json`: recipe, data set, the untrained features' worth, the
        phases, the kept one, the seconds of all sessions up to their last whole epoch.

    Raises:
        BadInput: unusable data; a run in the folder without `resume`; another recipe, other weights
            or another collection with it.
        Refused: another process trains in the folder.
        ArtefactError: a file of the run to resume is missing or damaged.
        ArtkinError: the loss is no number any more; where an epoch had ended before it, with a
            report of those, and a model to export.
    """
    start = time.monotonic()
    _check_folder(folder, resume)
    if resume:
        weights = check_resumed(folder, recipe, weights)
    # For GPUs of compute capability 8 and more; processors were slower in it, not faster.
    keras.config.set_dtype_policy("mixed_bfloat16" if on_gpu() else "float32")
    # Before hours of reading: weights that cannot be had are known in seconds.
    backbone = seeded_backbone(recipe, weights)
    collection = read_collection(data, (), manifest, follow_links)
    _make(folder)
    with exclusive(folder / _LOCK, f"training in {folder}"):
        # Once more: another process may have started a run here meanwhile.
        _check_folder(folder, resume)
        if resume:
            check_same(collection, folder)
            dataset = load_dataset(folder)
        else:
            dataset = _start_run(collection, recipe, folder, weights)
        return _train(dataset, recipe, backbone, folder, start)


def _train(
    dataset: Dataset, recipe: Recipe, backbone: keras.Model, folder: Path, start: float
) -> dict[str, Any]:
    network = build_network(recipe, backbone, len(dataset.classes))
    fit = Fit(network, backbone, dataset, recipe, folder, start)
    untrained = fit.measure_untrained()
    state = fit.run()
    report = {
        "recipe": recipe.as_dict(),
        "classes": dataset.classes,
        "works": {part: len(rows) for part, rows in dataset.parts.items()},
        "data": dataset.facts,
        "untrained": untrained,
        "phases": state.reports,
        "kept_phase": state.kept or None,
        "diverged": state.diverged or None,
        "seconds": round(state.seconds, 1),
    }
    _write_json(folder / REPORT, report)
    report = write_report(folder)
    if state.diverged:
        raise ArtkinError(
            f"{state.diverged}; the best epoch before it, of phase {state.kept}, is kept: {folder} "
            f"has its report and can be exported. {what_to_try(recipe)}"
        )
    return report


def _check_folder(folder: Path, resume: bool) -> None:
    """See that the folder holds a run to go on with, or none."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--run must be a folder to work in; received {folder}, which is a file")
    if (folder / RUN).exists() != resume:
        raise BadInput(
            f"{folder} holds no run to resume; leave --resume out to start one"
            if resume
            else f"{folder} holds a run already; go on with --resume or name another --run"
        )


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with new_file(path) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"the run's folder {folder} cannot be made: {error.strerror}") from error


def _start_run(
    collection: Collection, recipe: Recipe, folder: Path, weights: Path | None
) -> Dataset:
    """Read the pictures; only then is there a run: what was wrong before leaves nothing behind."""
    try:
        dataset = _read_dataset(collection, recipe, folder)
        write_run(folder, recipe, weights)
    except BaseException:
        for name in (RUN, _LOCK):
            (folder / name).unlink(missing_ok=True)
        remove_dataset(folder)
        raise
    return dataset


def _read_dataset(collection: Collection, recipe: Recipe, folder: Path) -> Dataset:
    for warning in collection.warnings:
        say(f"note: {warning}")
    for reason, count in sorted(collection.left_out.items()):
        say(f"left out: {count} {reason}")
    return prepare_dataset(collection, recipe.size, folder)
