"""Style heads on a frozen backbone, all trained and measured in one way, for `ablation.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from benchmarks import style_losses as losses
from benchmarks.paintings import WIKIART
from benchmarks.style_losses import BASE, Loss
from index.collection import read_collection
from index.perturbations import PERTURBATIONS
from index.space.comparison import compare
from index.space.metrics import evaluate
from index.space.picture_limits import COLLECTION_LIMITS
from index.space.preprocessing import Preprocessing, decode, read_file, to_pixels
from training.dataset import Dataset, load_dataset, prepare_dataset
from training.inference import compiled
from training.losses import CosineClasses, work_loss, work_targets
from training.network import build_network, seeded_backbone
from training.prefix_cache import cache_prefix

ASKED = 200
WORK_SHARES = (0.3, 0.45, 0.6)
EPOCHS = 15  # the preset's phase 1 has fewer: it goes on with the backbone
Floats = NDArray[np.float32]
Targets = Callable[[Floats], Floats]
Vary = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


def split(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to validate on, a fifth: of all that are not of the test part."""
    parts = dataset.parts
    pool = np.sort(np.concatenate([parts["train"], parts["validation"]]))
    pool = np.random.default_rng(123).permutation(pool)
    validation, train = np.split(pool, [len(pool) // 5])
    return np.sort(train), np.sort(validation)


class Bench:
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
            prefix,
            self.dataset.pixels,
            folder / f"{backbone_name}.f16",
            BASE.views,
            pool,
        )
        others = np.searchsorted(pool, self.train)
        at = [self.train] + [
            len(self.dataset.pixels) + view * len(pool) + others for view in range(BASE.views - 1)
        ]
        self.features = np.stack([_half(cached.plain(rows)) for rows in at])
        self.plain = _half(cached.plain(self.validation))
        looks = np.searchsorted(pool, self.validation)
        at = [len(self.dataset.pixels) + view * len(pool) + looks for view in range(BASE.views - 1)]
        self.looks = [self.plain, *(_half(cached.plain(rows)) for rows in at)]
        self.labels = [self.dataset.classes[code] for code in self.dataset.labels[self.validation]]
        self.codes = self.dataset.labels[self.train].astype(np.int32)
        self.asking = self._changed(prefix)
        self.base: Floats | None = None
        self.data, self.folder, self.prefix = data, folder, prefix
        self.work, self.asked_work = self.taught_work(half_whitened)

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

    def taught_work(self, targets: Targets) -> tuple[Floats, Floats]:
        """A work part taught the untrained features: of the validation works, and of the changed
        pictures."""
        assert BASE.work is not None
        features = self.features[0, :, self.columns["last"]].astype(np.float32)
        loss = work_loss(targets(features), BASE.work.temperature)
        return self._trained_work(lambda rows, unit: tf.reduce_mean(loss(rows, unit)))

    def work_of_pairs(self) -> tuple[Floats, Floats]:
        """A work part taught that two views of a work are one: each among all of its batch."""
        return self._trained_work(
            lambda rows, unit: losses.supervised_contrastive(rows, unit, None), copies=2
        )

    def pooled_work(self, columns: str) -> tuple[Floats, Floats]:
        """Features as they are, standardised."""
        chosen = self.columns[columns]
        seen = self.features[0, :, chosen].astype(np.float32)
        mean, deviation = seen.mean(axis=0), seen.std(axis=0) + 1e-3
        plain, asked = self.plain[:, chosen], self.asking[..., chosen]
        return _unit((plain - mean) / deviation), _unit((asked - mean) / deviation)

    def _trained_work(
        self, loss: Callable[[Any, Any], Any], **training: Any
    ) -> tuple[Floats, Floats]:
        assert BASE.work is not None
        keras.utils.set_random_seed(0)
        columns = self.columns["pooled"]
        inputs = keras.Input((columns.stop - columns.start,))
        x = keras.layers.BatchNormalization()(inputs)
        x = keras.layers.UnitNormalization()(keras.layers.Dense(BASE.work.dimension)(x))
        model = keras.Model(inputs, x)
        self._fit(model, columns, loss, **training)
        return _run(model, self.plain[:, columns]), self._asked(model, columns)

    def work_row(self, work: Floats, asked: Floats) -> dict[str, Any]:
        """Figures of a work part, alone and joined with the base's style part, which a row trained.

        Args:
            work: float32 (validation works, d), unit norm.
            asked: float32 (works, changes, d), unit norm.
        """
        assert self.base is not None
        row: dict[str, Any] = {"alone": self._figures(work, asked)}
        for share in WORK_SHARES:
            row[f"weight {share}"] = self._figures(
                _joined(self.base, work, share), _joined(self.base_asked, asked, share)
            )
        return row

    def _figures(self, vectors: Floats, asked: Floats) -> dict[str, Any]:
        return {
            "precision_at_5": evaluate(vectors, self.labels).precision,
            "same_work_recall_at_1": self._recall(vectors, asked),
        }

    def row(
        self,
        *,
        loss: Loss = losses.base,
        columns: str = "pooled",
        looks: int = 1,
        teachers: int = 0,
        shape: Callable[[Image.Image], Image.Image] | None = None,
        varied_by: Vary | None = None,
        backbone: str | None = None,
        epochs: int = EPOCHS,
        **options: Any,
    ) -> dict[str, Any]:
        """Train one style head and measure it, alone and joined with the work part.

        Args:
            looks: views of a picture whose embeddings are averaged.
            teachers: heads of other seeds whose mean answer is learnt beside the class.
            shape: how pictures are made square; one view.
            varied_by: how the views but the plain one are made.
            backbone: another, at the same size, with a work part of its own.
            options: of `_head` and `_fit`.
        """
        if shape:
            return self._shaped(shape)
        if varied_by:
            return self._varied(varied_by)
        if backbone:
            other = Bench(self.data, self.folder, backbone)
            other.base = self.base
            return other.row()
        start = time.process_time()
        chosen = self.columns[columns]
        taught = None
        if teachers:
            heads = [self._head(chosen, loss, epochs, 1 + seed) for seed in range(teachers)]
            answers = [_style(head, self.features[0, :, chosen])[1] for head in heads]
            assert BASE.margin is not None
            taught = tf.nn.softmax(BASE.margin.scale * np.mean(answers, axis=0))
        model = self._head(chosen, loss, epochs, 0, taught, **options)
        seconds = time.process_time() - start
        seen = [_style(model, look[:, chosen]) for look in self.looks[:looks]]
        embeddings = _unit(np.sum([unit for unit, _ in seen], axis=0))
        cosines = np.sum([cosines for _, cosines in seen], axis=0)
        return self._measured(embeddings, cosines, self._asked(model, chosen)) | {
            "cpu_seconds": seconds
        }

    def _head(
        self,
        columns: slice,
        loss: Loss,
        epochs: int,
        seed: int,
        taught: Any = None,
        *,
        hidden: int = BASE.hidden,
        heads: int = BASE.heads,
        dimension: int = BASE.dimension,
        norm: str | None = "batch",
        dropout: float = BASE.dropout,
        **training: Any,
    ) -> keras.Model:
        """A trained style head: features to unit embeddings and cosines, of every small head."""
        keras.utils.set_random_seed(seed)
        inputs = x = keras.Input((columns.stop - columns.start,))
        if norm:
            kinds = {
                "batch": keras.layers.BatchNormalization,
                "layer": keras.layers.LayerNormalization,
            }
            x = kinds[norm]()(x)
        x = keras.layers.Dropout(dropout)(x)
        if hidden:
            x = keras.layers.Dense(hidden, activation="gelu")(x)
            x = keras.layers.Dropout(dropout)(x)
        x = keras.layers.Reshape((heads, -1))(x)
        x = keras.layers.EinsumDense("nhi,hid->nhd", (heads, dimension // heads))(x)
        unit = keras.layers.UnitNormalization()(x)
        model = keras.Model(inputs, [unit, CosineClasses(len(self.dataset.classes))(x)])

        def mean_loss(rows: Any, found: Any) -> Any:
            codes = tf.gather(self.codes, rows)
            unit, cosines = found
            each = [loss(codes, unit[:, head], cosines[:, head]) for head in range(heads)]
            value = tf.add_n(each) / heads
            if taught is not None:
                assert BASE.margin is not None
                own = BASE.margin.scale * tf.reduce_mean(cosines, axis=1)
                wanted = tf.gather(taught, rows)
                value += tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, own))
            return value

        self._fit(model, columns, mean_loss, epochs=epochs, seed=seed, **training)
        return model

    def _shaped(self, shape: Callable[[Image.Image], Image.Image]) -> dict[str, Any]:
        """The row of one view, of pictures made square in another way; nothing is joined."""
        rows = np.concatenate([self.train, self.validation])
        pixels = [
            np.asarray(
                shape(decode(read_file(self.data / self.dataset.names[row]), COLLECTION_LIMITS))
            )
            for row in rows
        ]
        features = _half(compiled(self.prefix)(np.stack(pixels)))
        train, validation = np.split(features, [len(self.train)])
        with self._instead(train[None], [validation]):
            row = self.row(views=1)
        del row["joined"]  # the changed pictures are squashed ones
        return row

    def _varied(self, vary: Vary) -> dict[str, Any]:
        """The row of training pictures varied in another way."""
        run, rng = compiled(self.prefix), np.random.default_rng(0)
        features = self.features[:1]
        for _ in range(BASE.views - 1):
            view = [
                _half(run(vary(np.asarray(self.dataset.pixels[rows]), rng)))
                for rows in np.array_split(self.train, -(-len(self.train) // 64))
            ]
            features = np.concatenate([features, np.concatenate(view)[None]])
        with self._instead(features, self.looks):
            return self.row()

    @contextmanager
    def _instead(
        self, features: NDArray[np.float16], looks: list[NDArray[np.float16]]
    ) -> Iterator[None]:
        """Other pictures while the block runs."""
        kept = self.features, self.looks
        self.features, self.looks = features, looks
        try:
            yield
        finally:
            self.features, self.looks = kept

    def _measured(self, style: Floats, cosines: Floats, asked: Floats) -> dict[str, Any]:
        if self.base is None:
            self.base, self.base_asked = style, asked
        wikiart = np.isin(self.labels, WIKIART)
        seven = [label for label in self.labels if label in WIKIART]
        work = BASE.work
        assert work is not None
        joined = _joined(style, self.work, work.weight)
        found = evaluate(style, self.labels)
        right = cosines.argmax(axis=1) == self.dataset.labels[self.validation]
        against = asdict(compare(style, self.base, self.labels))
        return {
            "accuracy": float(right.mean()),
            "precision_at_5": asdict(found.measures["precision_at_5"]),
            "precision_at_5_wikiart7": evaluate(style[wikiart], seven).precision,
            "silhouette_cosine": found.silhouette_cosine,
            "difference": against["difference"],
            "real": against["real"],
            "joined": {
                "precision_at_5": evaluate(joined, self.labels).precision,
                "precision_at_5_wikiart7": evaluate(joined[wikiart], seven).precision,
                "same_work_recall_at_1": self._recall(
                    joined, _joined(asked, self.asked_work, work.weight)
                ),
            },
        }

    def _recall(self, gallery: Floats, asked: Floats) -> float:
        """Share of the changed pictures whose own work is the first of all validation works."""
        own = np.arange(len(self.validation))[:: len(self.validation) // ASKED][:ASKED]
        first = (asked.reshape(-1, gallery.shape[1]) @ gallery.T).argmax(axis=1)
        return float((first.reshape(asked.shape[:2]) == own[:, None]).mean())

    def _asked(self, model: keras.Model, columns: slice) -> Floats:
        flat = self.asking[:, :, columns].reshape(-1, columns.stop - columns.start)
        work_part = len(model.outputs) == 1
        vectors = _run(model, flat) if work_part else _style(model, flat)[0]
        return vectors.reshape(*self.asking.shape[:2], -1)

    def _fit(
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


def half_whitened(features: Floats) -> Floats:
    """What the preset's work part is taught: (works, channels) to (works, d)."""
    assert BASE.work is not None
    return work_targets(features, np.arange(len(features)), BASE.work.dimension)


def principal(features: Floats, *, whiten: bool) -> Floats:
    """The same, of plain or of whitened principal components."""
    assert BASE.work is not None
    pca = PCA(BASE.work.dimension, whiten=whiten, random_state=0)
    return _unit(pca.fit_transform(StandardScaler().fit_transform(features)).astype(np.float32))


def _run(model: keras.Model, features: NDArray[np.float16]) -> Any:
    return model.predict(features.astype(np.float32), batch_size=512, verbose=0)


def _style(model: keras.Model, features: NDArray[np.float16]) -> tuple[Floats, Floats]:
    """Embeddings (n, d) of all heads, unit norm, and the mean of their cosines (n, classes)."""
    unit, cosines = _run(model, features)
    return _unit(unit.reshape(len(unit), -1)), cosines.mean(axis=1)


def _half(inputs: Any) -> NDArray[np.float16]:
    return np.asarray(inputs).astype(np.float16)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _joined(style: Floats, work: Floats, share: float) -> Floats:
    return np.concatenate([(1 - share) ** 0.5 * style, share**0.5 * work], axis=-1)
