"""What a frozen backbone says of a collection's training part, and heads fitted to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from benchmarks.style_losses import BASE
from index.collection import read_collection
from index.perturbations import PERTURBATIONS
from index.space.preprocessing import Preprocessing, to_pixels
from training.dataset import Dataset, load_dataset, prepare_dataset
from training.inference import compiled
from training.network import build_network, seeded_backbone
from training.prefix_cache import cache_prefix

ASKED = 200
EPOCHS = 15  # the preset's phase 1 has fewer: it goes on with the backbone
Floats = NDArray[np.float32]


class Vectors(NamedTuple):
    """A part of the embedding, unit norm.

    Attributes:
        works: float32 (validation works, d).
        asked: float32 (works asked about, changes, d), of changed pictures.
    """

    works: Floats
    asked: Floats


def split(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to validate on, a fifth: of all that are not of the test part."""
    parts = dataset.parts
    pool = np.sort(np.concatenate([parts["train"], parts["validation"]]))
    pool = np.random.default_rng(123).permutation(pool)
    validation, train = np.split(pool, [len(pool) // 5])
    return np.sort(train), np.sort(validation)


class FrozenFeatures:
    """Cached views of the collection's training part, split for good."""

    def __init__(self, data: Path, folder: Path, backbone_name: str = BASE.backbone) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        done = (folder / "works.json").exists()
        self.dataset: Dataset = (
            load_dataset(folder)
            if done
            else prepare_dataset(read_collection(data), BASE.size, folder)
        )
        self.train, self.validation = split(self.dataset)
        pool = np.sort(np.concatenate([self.train, self.validation]))
        backbone = seeded_backbone(replace(BASE, backbone=backbone_name))
        network = build_network(BASE, backbone, len(self.dataset.classes))
        last = backbone.output
        outputs = [
            network.get_layer("pool").output,
            keras.layers.GlobalAveragePooling2D()(last),
            keras.ops.power(keras.ops.mean(keras.ops.relu(last) ** 3, axis=(1, 2)) + 1e-9, 1 / 3),
        ]
        widths = [int(output.shape[-1]) for output in outputs]
        depthwise = sum(
            int(layer.output.shape[-1])
            for layer in network.layers
            if layer.name.startswith("mean_") and layer.name.endswith("_activation")
        )
        ends = [
            int(layer.output.shape[-1])
            for layer in network.layers
            if layer.name.startswith("mean_") and not layer.name.endswith("_activation")
        ]
        start = np.cumsum([0, *widths]).tolist()
        self.columns = {
            "pooled": slice(0, start[1]),
            "depthwise": slice(0, depthwise),
            "block6": slice(depthwise + sum(ends[:-1]), depthwise + sum(ends)),
            "last": slice(start[1], start[2]),
            "gem": slice(start[2], start[3]),
            "all": slice(0, start[2]),
        }
        prefix = keras.Model(backbone.input, keras.layers.Concatenate()(outputs))
        cached = cache_prefix(
            {folder / f"{backbone_name}.f16": prefix},
            self.dataset.pixels,
            BASE.views,
            pool,
        )
        others = np.searchsorted(pool, self.train)
        at = [self.train] + [
            len(self.dataset.pixels) + view * len(pool) + others for view in range(BASE.views - 1)
        ]
        self.features = np.stack([half(cached.plain(rows)) for rows in at])
        self.plain = half(cached.plain(self.validation))
        looks = np.searchsorted(pool, self.validation)
        at = [len(self.dataset.pixels) + view * len(pool) + looks for view in range(BASE.views - 1)]
        self.looks = [self.plain, *(half(cached.plain(rows)) for rows in at)]
        self.labels = [self.dataset.classes[code] for code in self.dataset.labels[self.validation]]
        self.codes = self.dataset.labels[self.train].astype(np.int32)
        self.asking = self._changed(prefix)
        self.data, self.folder, self.prefix = data, folder, prefix

    def _changed(self, prefix: keras.Model) -> NDArray[np.float16]:
        """(works, changes, numbers) of changed pictures of the first works of the validation."""
        run = compiled(prefix)
        spec = Preprocessing(height=BASE.size, width=BASE.size)
        found = []
        for row in self.validation[:: len(self.validation) // ASKED][:ASKED]:
            image = Image.fromarray(np.asarray(self.dataset.pixels[row]))
            changed = [to_pixels(change(image), spec) for change in PERTURBATIONS.values()]
            found.append(run(np.stack(changed)).astype(np.float16))
        return np.stack(found)

    def vectors(self, of: Callable[[NDArray[np.float16]], Floats], columns: slice) -> Vectors:
        """What a head makes of the plain and of the changed pictures."""
        asked = of(self.asking[:, :, columns].reshape(-1, columns.stop - columns.start))
        shape = (*self.asking.shape[:2], -1)
        return Vectors(of(self.plain[:, columns]), asked.reshape(shape))

    def recall(self, vectors: Vectors) -> float:
        """Share of the changed pictures whose own work is the first of all validation works."""
        works, asked = vectors
        own = np.arange(len(self.validation))[:: len(self.validation) // ASKED][:ASKED]
        first = (asked.reshape(-1, works.shape[1]) @ works.T).argmax(axis=1)
        return float((first.reshape(asked.shape[:2]) == own[:, None]).mean())

    def fit(
        self,
        model: keras.Model,
        columns: slice,
        loss: Callable[[Any, Any], Any],
        *,
        epochs: int = EPOCHS,
        seed: int = 0,
        batch: int = BASE.batch,
        views: int = BASE.views,
        mixup: float = 0.0,
        balanced: bool = False,
        average: float | None = None,
        schedule: str = "warmup_cosine",
        share: float = 1.0,
        copies: int = 1,
    ) -> None:
        """Adam on `loss(rows of the training works, the model's outputs)`; each work so many times
        in a batch, each time in a view of its own."""
        rng = np.random.default_rng(seed)
        chosen = np.arange(len(self.train))
        if share < 1:
            chosen = np.random.default_rng(0).permutation(chosen)[: round(share * len(chosen))]
        works = len(chosen)
        # As many steps whatever the number of works.
        epochs = round(epochs / share)
        steps = -(-works // batch) * epochs
        peak = BASE.phases[0].learning_rate
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - steps // 10, warmup_target=peak, warmup_steps=steps // 10
        )
        optimizer = keras.optimizers.Adam(
            rate if schedule == "warmup_cosine" else peak,
            use_ema=average is not None,
            ema_momentum=average or 0.99,
        )
        optimizer.build(model.trainable_variables)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def step(x: Any, rows: Any, others: Any, own: Any) -> None:
            with tf.GradientTape() as tape:
                found = model(x, training=True)
                value = loss(rows, found)
                if mixup:
                    value = own * value + (1 - own) * loss(others, found)
            variables = model.trainable_variables
            gradients = tape.gradient(value, [variable.value for variable in variables])
            optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

        share_of = 1 / np.bincount(self.codes)[self.codes]
        for _ in range(epochs):
            order = rng.permutation(chosen)
            if balanced:
                order = rng.choice(works, works, p=share_of / share_of.sum())
            for start in range(0, works, batch):
                rows = np.repeat(order[start : start + batch], copies)
                x = self.features[rng.integers(0, views, len(rows)), rows, columns]
                x = x.astype(np.float32)
                own, others = 1.0, rows
                if mixup:
                    own, mixed = rng.beta(mixup, mixup), rng.permutation(len(rows))
                    x, others = own * x + (1 - own) * x[mixed], rows[mixed]
                step(
                    tf.constant(x),
                    tf.constant(rows),
                    tf.constant(others),
                    tf.constant(own, tf.float32),
                )
        if average:
            optimizer.finalize_variable_values(model.trainable_variables)


def run(model: keras.Model, features: NDArray[np.float16]) -> Any:
    """The head's outputs, (n, ...)."""
    return model.predict(features.astype(np.float32), batch_size=512, verbose=0)


def half(inputs: Any) -> NDArray[np.float16]:
    """As features are kept."""
    return np.asarray(inputs).astype(np.float16)


def unit(vectors: Floats) -> Floats:
    """At length 1."""
    scaled: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def joined(style: Vectors, work: Vectors, weight: float) -> Vectors:
    """Both parts in one vector, as they are served."""
    shares = (1 - weight) ** 0.5, weight**0.5
    parts = zip(style, work, strict=True)
    return Vectors(*(np.concatenate([shares[0] * a, shares[1] * b], axis=-1) for a, b in parts))
