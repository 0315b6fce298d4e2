"""`artkin export RUN --to models/NAME-VERSION`: a run's best model as a SavedModel.

It counts as exported only when the SavedModel, read back and run by TensorFlow and by OpenVINO,
gives the numbers of the model in memory at two batch sizes; until then nothing is at `--to`.
"""

from __future__ import annotations

import argparse
import errno
import json
import shlex
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from index.progress import say
from index.space.artefact import new_folder, write_manifest
from index.space.encoder import CANARY_COSINE, Encoder
from index.space.errors import ArtefactError, BadInput
from index.space.model import (
    CANARIES,
    INPUT,
    OUTPUT,
    SAVED_MODEL,
    SEEN_WORKS,
    UNTRAINED,
    ModelManifest,
    load_model,
)
from index.space.preprocessing import Preprocessing
from training.dataset import load_dataset
from training.fit import UNTRAINED_BACKBONE
from training.network import embedding, parts_of
from training.report import REPORT
from training.state import reading

_BATCHES = (1, 7)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", type=Path, help="folder of a finished training run")
    parser.add_argument("--to", type=Path, required=True, help="new folder, models/NAME-VERSION")


def main(options: argparse.Namespace) -> None:
    """Run the command."""
    export(options.run, options.to)
    say(f"next: artkin index COLLECTION --model {shlex.quote(str(options.to))}")


def export(run: Path, target: Path) -> None:
    """Write the model of a run's kept phase to a new folder.

    Raises:
        BadInput: the run has not ended, or the target's name is not NAME-VERSION or is taken.
        ArtefactError: the SavedModel does not give the numbers of the model in memory.
    """
    name, dash, version = target.name.rpartition("-")
    if not (name and dash and version):
        raise BadInput(f"--to must be called NAME-VERSION, as in models/art-1; received {target}")
    report = _read_report(run)
    embedder = load_served(run, report)
    pixels = canary_pixels(report["recipe"]["size"])
    expected = np.asarray(embedder.predict_on_batch(pixels))
    with new_folder(target) as folder:
        _save(embedder, folder / SAVED_MODEL)
        _save(load_untrained(run), folder / UNTRAINED)
        np.savez(folder / CANARIES, pixels=pixels, embeddings=expected)
        (folder / SEEN_WORKS).write_text(_seen_works(run), encoding="ascii")
        (folder / "report").mkdir()
        shutil.copyfile(run / REPORT, folder / "report" / REPORT)
        write_manifest(folder, _manifest(name, version, report))
        worst = _check_parity(folder, pixels, expected)
    say(f"exported {target}: TensorFlow and OpenVINO agree with training, cosine >= {worst:.6f}")


def load_served(run: Path, report: dict[str, Any]) -> keras.Model:
    """The network of a run's kept phase, pixels to what is served, all of it in float32.

    Raises:
        ArtefactError: its checkpoint is missing or damaged.
    """
    network = _load(run / f"efficientnet_phase{report['kept_phase']}.keras")
    return keras.Model(network.input, embedding(network, parts_of(report["recipe"])))


def load_untrained(run: Path) -> keras.Model:
    """The backbone before training, pixels to pooled features of unit norm, in float32.

    Raises:
        ArtefactError: it is missing or damaged.
    """
    backbone = _load(run / UNTRAINED_BACKBONE)
    return keras.Model(backbone.input, keras.layers.UnitNormalization()(backbone.output))


def _load(checkpoint: Path) -> keras.Model:
    with reading(checkpoint):
        trained = keras.models.load_model(checkpoint)
    # A GPU may have trained it in mixed precision, which its layers remember.
    network = keras.models.clone_model(
        trained,
        clone_function=lambda layer: layer.from_config({**layer.get_config(), "dtype": "float32"}),
    )
    network.set_weights(trained.get_weights())
    return network


def canary_pixels(size: int) -> NDArray[np.uint8]:
    """Pictures whose embeddings are checked wherever the model runs, uint8 (7, size, size, 3).

    Smooth random colours: every value occurs, nothing is symmetric, nobody owns them.
    """
    rng = np.random.default_rng(7)
    pictures = []
    for cells in (2, 3, 4, 6, 8, 12, 16):
        grid = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        pictures.append(np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(pictures)


def _read_report(run: Path) -> dict[str, Any]:
    path = run / REPORT
    if not path.is_file():
        raise BadInput(f"{run} must be a finished training run; it has no {REPORT}")
    with reading(path):
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept = report["kept_phase"]
    if kept is None:
        raise BadInput(f"{run} trained no phase (0 epochs in each); there is nothing to export")
    return report


def _save(embedder: keras.Model, folder: Path) -> None:
    """A SavedModel with one signature, its input and output named for good."""
    _, height, width, channels = embedder.input.shape
    signature = tf.TensorSpec((None, height, width, channels), tf.uint8, name=INPUT)

    # The endpoint brings its weights with it; `track` would write every one of them twice.
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serving_default",
        lambda pixels: {OUTPUT: embedder(pixels, training=False)},
        input_signature=[signature],
    )
    try:
        archive.write_out(str(folder), verbose=False)
    except tf.errors.ResourceExhaustedError as error:  # TensorFlow's own word for a full disk
        raise OSError(errno.ENOSPC, "no space left", str(folder)) from error


def _seen_works(run: Path) -> str:
    dataset = load_dataset(run)
    rows = np.concatenate([dataset.parts["train"], dataset.parts["validation"]])
    return "".join(f"{digest}\n" for digest in sorted({dataset.digests[row] for row in rows}))


def _manifest(name: str, version: str, report: dict[str, Any]) -> ModelManifest:
    recipe = report["recipe"]
    test = report["phases"][report["kept_phase"] - 1]["test"]
    parts = parts_of(recipe)
    return ModelManifest(
        files={},
        name=name,
        version=version,
        backbone=recipe["backbone"],
        preset=recipe["name"],
        dimension=sum(part.width for part in parts),
        parts=parts,
        preprocessing=Preprocessing(height=recipe["size"], width=recipe["size"]),
        classes=report["classes"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        copies=test["same_work"]["copies"],
        report={
            key: test[key] for key in ("accuracy", "precision", "silhouette", "silhouette_cosine")
        },
    )


def _check_parity(folder: Path, pixels: NDArray[np.uint8], expected: NDArray[np.float32]) -> float:
    """The lowest cosine to the model in memory, of both runtimes at both batch sizes."""
    signature = tf.saved_model.load(str(folder / SAVED_MODEL)).signatures["serving_default"]
    model = load_model(folder)
    runs: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
        "TensorFlow": lambda batch: signature(**{INPUT: tf.constant(batch)})[OUTPUT].numpy()
    }
    for size in _BATCHES:
        runs[f"OpenVINO, batch {size}"] = Encoder(model, batch=size).encode
    worst = 1.0
    for runtime, embed in runs.items():
        for size in _BATCHES:
            cosine = float((embed(pixels[:size]) * expected[:size]).sum(axis=1).min())
            worst = min(worst, cosine)
            if cosine < CANARY_COSINE:
                raise ArtefactError(
                    f"the SavedModel must give training's numbers (cosine >= {CANARY_COSINE}); "
                    f"{runtime} gave {cosine:.6f} on {size} pictures; nothing was exported"
                )
    return worst
