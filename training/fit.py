"""The three phases: train, keep the best epoch, go on from it; stop and resume at any epoch.

Best epoch: the highest Precision@5 on the validation works (what the product promises), the lower
validation loss where two are equal. A phase starts from the best epoch of all phases before it,
so that a phase which hurts loses nothing, and `efficientnet_phase<n>.keras` holds the best epoch
of phase n, kept or not.

Keras' own EarlyStopping and ModelCheckpoint do not survive a restart (their counters are not
saved) and forget the phase before; the few lines here do both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from index.parallel import parallel_map
from index.progress import figure, say, track
from index.space.artefact import new_file
from index.space.errors import ArtkinError
from index.space.metrics import Evaluation, evaluate, leave_one_out
from training.dataset import Dataset
from training.inference import compiled, on_gpu
from training.losses import Loss, style_loss, work_loss, work_targets
from training.network import (
    EXACT,
    POOL,
    POOL_BN,
    Cut,
    behind,
    embedding,
    freeze,
    parts_of,
    resized,
    tail,
)
from training.phase_views import PhaseViews
from training.prefix_cache import Inputs, Views
from training.recipe import Phase, Recipe
from training.same_work import same_work
from training.schedules import learning_rate
from training.state import RunState, load_state, reading, save_state

TRAIN_SAMPLE = 1000
UNTRAINED_BACKBONE = "efficientnet_untrained.keras"
# A small collection is trained in small batches, and several times an epoch where those are still
# few: in a step or two nothing is learnt.
STEPS_AT_LEAST, SMALLEST_BATCH = 32, 8


class _NoNumberError(ArtkinError):
    """A step's loss, or the weights after it, are not finite."""


@dataclass(frozen=True)
class Measured:
    """One part of the data under one set of weights."""

    loss: float
    accuracy: float
    labels: list[str]
    embeddings: NDArray[np.float32]
    predicted: NDArray[np.int64]


@dataclass(frozen=True)
class _Current:
    """The phase at hand: `model` trains the layers of `measured`, fed by `views`."""

    name: str
    number: int
    phase: Phase
    measured: keras.Model
    views: Views
    model: keras.Model


class Fit:
    """One training run in a folder.

    Args:
        network: from `build_network`.
        backbone: what it was built on, as it was downloaded.
        dataset: decoded works.
        recipe: what to do.
        folder: the run's; checkpoints, state and caches go there.
        start: of this session, on `time.monotonic`; None is now.
    """

    def __init__(
        self,
        network: keras.Model,
        backbone: keras.Model,
        dataset: Dataset,
        recipe: Recipe,
        folder: Path,
        start: float | None = None,
    ) -> None:
        self._counted = time.monotonic() if start is None else start
        self.network = network
        self.dataset = dataset
        self.recipe = recipe
        self.folder = folder
        self.views = PhaseViews(network, dataset, recipe, folder)
        self._parts = parts_of(recipe.as_dict())
        works = len(dataset.parts["train"])
        self._batch = min(recipe.batch, max(SMALLEST_BATCH, works // STEPS_AT_LEAST))
        self._passes = max(1, round(STEPS_AT_LEAST * self._batch / works))
        pooled = keras.layers.GlobalAveragePooling2D(**EXACT)(backbone.output)
        self._backbone_channels = int(pooled.shape[-1])
        self._backbone = keras.Model(backbone.inputs[0], pooled)
        self._run_backbone = compiled(self._backbone)
        self._untrained = self._untrained_features()
        self._losses: list[Loss] = [style_loss(recipe.margin)]
        if recipe.work:
            rows = dataset.parts["train"]
            targets = work_targets(self._untrained, rows, recipe.work.dimension)
            self._losses.append(work_loss(targets, recipe.work.temperature))

    def run(self) -> RunState:
        """Train all phases from the saved state, if there is one.

        May be interrupted anywhere: what is on disk is always the last whole epoch. A loss that is
        no number any more ends the run with the epochs before it.

        Returns:
            With one report a phase: its epochs, the best one, whether it was kept, its test
            metrics.

        Raises:
            ArtkinError: the loss is no number before any epoch has ended.
        """
        state = load_state(self.folder) or RunState()
        for number in range(len(state.reports) + 1, len(self.recipe.phases) + 1):
            if state.diverged:
                break
            phase = self.recipe.phases[number - 1]
            if phase.epochs == 0:
                state.reports.append({"phase": number, "skipped": True, "kept": False})
                self._save(state)
                continue
            self._run_phase(number, phase, state)
        self.views.forget_all()
        return state

    def measure_untrained(self) -> dict[str, Any]:
        """What the backbone's pooled features are worth on the test works before any training:
        what fine-tuning has to beat, an `Evaluation` and the works found again. The backbone is
        kept beside, for the same comparison on a collection."""
        with new_file(self.folder / UNTRAINED_BACKBONE) as path:
            self._backbone.save(path)
        rows = self.dataset.parts["test"]
        features = self._untrained[rows]
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        measured = evaluate(features, self._labels(rows))
        self._save_test(0, embeddings=features)
        found = same_work(self.dataset, self._run_backbone, features)
        say(f"untrained: test {_said(measured, found)}")
        return {**measured.as_dict(), "same_work": found}

    def checkpoint(self, phase: int) -> Path:
        """Where a phase's best epoch is kept."""
        return self.folder / f"efficientnet_phase{phase}.keras"

    def _run_phase(self, number: int, phase: Phase, state: RunState) -> None:
        if state.epoch:
            self.network.set_weights(state.weights)
        elif state.kept:
            with reading(self.checkpoint(state.kept)):
                self.network.load_weights(self.checkpoint(state.kept))
        cut = freeze(self.network, phase.unfreeze_from)
        measured, views = tail(self.network, cut, self._parts), self.views.of(cut, number)
        if on_gpu():
            self._batch = self._fitting_batch(cut, phase, views)
        if not (state.epoch or state.kept) and self.recipe.batch_norm:
            self._start_batch_norm(cut, views)
        current = _Current(
            f"phase {number}", number, phase, measured, views, self._compiled(cut, phase)
        )
        if state.epoch:
            state.restore_optimizer(current.model.optimizer)
        say(f"{current.name}: {_describe(cut)}, {phase.epochs} epochs at {phase.learning_rate:g}")
        try:
            while state.epoch < phase.epochs and not _is_patience_over(state, phase):
                self._run_epoch(current, state)
        except _NoNumberError as error:
            if not (state.epoch or state.kept):
                raise ArtkinError(
                    f"{error}; no epoch had ended. {what_to_try(self.recipe)}"
                ) from error
            state.diverged = str(error)
        if state.epoch:
            self._end_phase(current, cut, state)
        else:
            self._save(state)
        self.views.forget(number)

    def _run_epoch(self, current: _Current, state: RunState) -> None:
        start = time.monotonic()
        epoch, model = state.epoch + 1, current.model
        name = f"{current.name}, epoch {epoch}/{current.phase.epochs}"
        losses: list[float] = []
        for x, y in track(self._batches(current, epoch), self._steps(), name):
            # The step's own loss, before those of the outputs where there are two.
            losses.append(float(np.ravel(model.train_on_batch(x, y))[0]))
            self._check_step(losses[-1], name, len(losses))
        loss = float(np.mean(losses))
        weights = kept = self.network.get_weights()
        if not all(np.isfinite(array).all() for array in weights):  # the last step's update
            self._check_step(np.nan, name, len(losses))
        if current.phase.average is not None:
            model.optimizer.finalize_variable_values(model.trainable_variables)
            kept = self.network.get_weights()
        measured = self.measure(current.measured, current.views, "validation")
        precision = leave_one_out(measured.embeddings, measured.labels).precision
        record = {
            "epoch": epoch,
            "loss": loss,
            "validation_loss": measured.loss,
            "validation_accuracy": measured.accuracy,
            "validation_precision_at_5": precision,
            "learning_rate": float(np.asarray(model.optimizer.learning_rate)),
            "steps": int(np.asarray(model.optimizer.iterations)),
            "seconds": round(time.monotonic() - start, 1),
        }
        state.record(weights, kept, model.optimizer, record)
        self.network.set_weights(weights)
        self._save(state)
        say(
            f"{name}: loss {loss:.3f}, validation loss {measured.loss:.3f}, accuracy "
            f"{measured.accuracy:.3f}, P@5 {figure(precision)}"
            f"{', best of this phase so far' if state.best_epoch == epoch else ''}"
        )

    def _end_phase(self, current: _Current, cut: Cut, state: RunState) -> None:
        self.network.set_weights(state.best)
        with new_file(self.checkpoint(current.number)) as path:
            self.network.save(path)
        test = self.measure(current.measured, current.views, "test")
        similarity = evaluate(test.embeddings, test.labels, parts=self._parts)
        served = keras.Model(self.network.input, embedding(self.network, self._parts))
        work = slice(self.recipe.dimension, None) if self.recipe.work else None
        found = same_work(self.dataset, compiled(served), test.embeddings, work)
        self._save_test(
            current.number,
            embeddings=test.embeddings,
            predicted=np.array(self.dataset.classes)[test.predicted],
        )
        report = {
            "phase": current.number,
            "trained_from": cut.block or "head",
            "backbone_layers_trained": cut.trainable,
            "stopped_early": state.epoch < current.phase.epochs,
            "epochs": state.history,
            "best_epoch": state.best_epoch,
            "train_accuracy": self.measure(current.measured, current.views, "train").accuracy,
            "test": {"accuracy": test.accuracy, **similarity.as_dict(), "same_work": found},
        }
        state.end_phase(current.number, report)
        self._save(state)
        verdict = "kept" if report["kept"] else f"not kept, phase {state.kept} was better"
        say(
            f"{current.name} ends: best epoch {report['best_epoch']}, test accuracy "
            f"{test.accuracy:.3f}, {_said(similarity, found)}; {verdict}"
        )

    def _save(self, state: RunState) -> None:
        now = time.monotonic()
        state.seconds += now - self._counted
        self._counted = now
        save_state(self.folder, state)

    def _save_test(self, phase: int, **arrays: NDArray[Any]) -> None:
        """The test works' numbers after a phase (0: before any), row for row with their names."""
        rows = self.dataset.parts["test"]
        names = np.array(self.dataset.names)[rows]
        labels = np.array(self._labels(rows))
        everything: dict[str, Any] = {"names": names, "labels": labels, **arrays}
        with new_file(self.folder / f"phase{phase}_test.npz") as path:
            np.savez(path, **everything)

    def _labels(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.dataset.classes[code] for code in self.dataset.labels[rows]]

    def measure(self, model: keras.Model, views: Views, part: str) -> Measured:
        """One part of the data under the current weights."""
        rows = self._sample(part)
        outputs = [model.predict_on_batch(views.plain(chunk)) for chunk in _chunks(rows)]
        logits, embeddings = (np.concatenate(kind) for kind in zip(*outputs, strict=True))
        by_head = logits.reshape(len(rows), -1, len(self.dataset.classes))
        labels, predicted = self.dataset.labels[rows], by_head.mean(axis=1).argmax(axis=1)
        return Measured(
            loss=float(np.mean(self._losses[0](labels, logits))),
            accuracy=float((predicted == labels).mean()),
            labels=self._labels(rows),
            embeddings=embeddings,
            predicted=predicted,
        )

    def _untrained_features(self) -> NDArray[np.float32]:
        """Pooled, (works, channels); on disk, as a run that goes on needs them again."""
        path = self.folder / "untrained.npy"
        if not path.exists():
            shape = (len(self.dataset.pixels), self._backbone_channels)
            rows = np.arange(len(self.dataset.pixels))
            chunks = track(_chunks(rows), len(_chunks(rows)), "running the untrained network")
            with new_file(path) as partial, partial.open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    file.write(self._run_backbone(self.dataset.pixels[chunk]).tobytes())
        with reading(path):
            features: NDArray[np.float32] = np.load(path, mmap_mode="r")
        return features

    def _compiled(self, cut: Cut, phase: Phase) -> keras.Model:
        outputs, weights = [self.network.outputs[0]], [1.0]
        if self.recipe.work:
            unit = keras.layers.UnitNormalization(**EXACT)(self.network.outputs[1])
            outputs, weights = [*outputs, unit], [*weights, self.recipe.work.loss_weight]
        model = keras.Model(behind(self.network, cut), outputs if self.recipe.work else outputs[0])
        if (size := self.recipe.trained_size(phase)) != self.recipe.size:
            model = resized(model, size)
        model.compile(
            optimizer=self._optimizer(phase),
            loss=self._losses if self.recipe.work else self._losses[0],
            loss_weights=weights if self.recipe.work else None,
            # XLA makes a training step fifteen times slower on processors (docs/decisions.md).
            jit_compile="auto" if on_gpu() else False,
        )
        model.optimizer.build(model.trainable_variables)
        return model

    def _optimizer(self, phase: Phase) -> keras.optimizers.Optimizer:
        averaged = {"use_ema": True, "ema_momentum": phase.average} if phase.average else {}
        return keras.optimizers.Adam(learning_rate(phase, self._steps()), **averaged)

    def _steps(self) -> int:
        return -(-len(self.dataset.parts["train"]) * self._passes // self._batch)

    def _start_batch_norm(self, cut: Cut, views: Views) -> None:
        """Give the head's BatchNormalization the training pictures' own statistics.

        Its moving averages start at 0 and 1 and need hundreds of steps to forget it, more than a
        small collection has in all its epochs.
        """
        inputs = [views.plain(chunk) for chunk in _chunks(self._sample("train"))]
        if cut.block is not None:  # else it is the pool that is cached
            pool = self.network.get_layer(POOL).output
            pooling = keras.Model(behind(self.network, cut), pool)
            inputs = [pooling.predict_on_batch(chunk) for chunk in inputs]
        pooled = np.concatenate(inputs)
        layer = self.network.get_layer(POOL_BN)
        layer.moving_mean.assign(pooled.mean(axis=0))
        layer.moving_variance.assign(pooled.var(axis=0))

    def _sample(self, part: str) -> NDArray[np.int64]:
        """The part's rows; of the training works so many as tell how well they are known."""
        rows = self.dataset.parts[part]
        if part == "train" and len(rows) > TRAIN_SAMPLE:
            return np.sort(np.random.default_rng(0).choice(rows, TRAIN_SAMPLE, replace=False))
        return rows

    def _fitting_batch(self, cut: Cut, phase: Phase, views: Views) -> int:
        """The recipe's batch, halved until a step of the phase fits into the GPU's memory."""
        weights, batch = self.network.get_weights(), self._batch
        rows = self.dataset.parts["train"]
        while True:
            chosen = np.arange(min(batch, len(rows)))
            labels = self.dataset.labels[rows[chosen]]
            answers = [labels, chosen] if self.recipe.work else labels
            try:
                inputs = views.varied(rows[chosen], np.random.default_rng(0))
                self._compiled(cut, phase).train_on_batch(inputs, answers)
            except tf.errors.ResourceExhaustedError:
                if batch == 1:
                    raise
                batch //= 2
            else:
                break
        self.network.set_weights(weights)
        if batch < self._batch:
            say(f"{batch} pictures a step: {self._batch} do not fit into the GPU's memory")
        return batch

    def _batches(self, current: _Current, epoch: int) -> Iterator[tuple[Inputs, Inputs]]:
        """The epoch's batches: a function of seed, phase and epoch, so that a resumed run sees
        what an uninterrupted one would have seen."""
        rng = np.random.default_rng([self.recipe.seed, current.number, epoch])
        for layer in self.network.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([current.number, epoch])
        train = self.dataset.parts["train"]
        order = np.concatenate([rng.permutation(len(train)) for _ in range(self._passes)])

        def batch(start: int) -> tuple[Inputs, Inputs]:
            chosen = order[start : start + self._batch]
            rows = train[chosen]
            # The classifier's answer is the class, the work part's the place among the targets.
            labels = self.dataset.labels[rows]
            answers = [labels, chosen] if self.recipe.work else labels
            return current.views.varied(rows, rng), answers

        # Made while the one before is trained on; by one thread, as `rng` is drawn from in order.
        return parallel_map(batch, range(0, len(order), self._batch), workers=1, ahead=1)

    def _check_step(self, loss: float, name: str, step: int) -> None:
        if not np.isfinite(loss):
            raise _NoNumberError(f"the loss must be a number; {name}, step {step} gave {loss}")


def what_to_try(recipe: Recipe) -> str:
    """After a loss that is no number."""
    return (
        f"Lower that phase's learning_rate in training/presets/{recipe.name}.py and train again in "
        "another --run"
    )


def _chunks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(rows, -(-len(rows) // 64))


def _said(similarity: Evaluation, found: dict[str, Any]) -> str:
    return (
        f"P@5 {figure(similarity.precision)}, silhouette {figure(similarity.silhouette)}, same "
        f"work {figure(found['recall_at_1'])}"
    )


def _is_patience_over(state: RunState, phase: Phase) -> bool:
    return phase.patience is not None and state.epoch - state.best_epoch >= phase.patience


def _describe(cut: Cut) -> str:
    if cut.block is None:
        return "backbone frozen"
    if not cut.frozen:
        return "the whole network: nothing is frozen, so nothing is cached"
    return f"the backbone from {cut.block} on ({cut.trainable} layers with weights to train)"
