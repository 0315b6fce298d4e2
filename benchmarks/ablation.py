"""What each piece of the preset `artkin` is worth: one change a row, on works held out of train.

    python benchmarks/ablation.py ../shared/data/paintings

Writes `benchmarks/results/ablation.json` after every row; interrupted, it goes on with the rows
that are missing. The test part is never looked at: a fifth of the training part, drawn once with
a fixed seed, is the validation on which the recipe was chosen, the other four fifths are trained
on. The backbone is frozen, one run of 15 epochs a row: each style head is trained on the same
cached views, each joined with the same work part. `difference` is of P@5 of the style part against
the first row, paired by work, with its 95 % interval; `real` says whether it may be chance.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageOps

from benchmarks.paintings import WIKIART
from index.collection import read_collection
from index.perturbations import PERTURBATIONS
from index.space.comparison import compare
from index.space.metrics import evaluate
from index.space.preprocessing import (
    BACKGROUND,
    COLLECTION_LIMITS,
    Preprocessing,
    decode,
    read_file,
    to_pixels,
)
from training.dataset import Dataset, load_dataset, prepare_dataset
from training.inference import compiled
from training.losses import CosineClasses, work_loss, work_targets
from training.network import build_network, seeded_backbone
from training.prefix_cache import cache_prefix
from training.presets import load_preset

RECIPE = load_preset("artkin")
RESULT = Path("benchmarks/results/ablation.json")
ASKED = 200
EPOCHS = 15  # the preset's phase 1 has fewer: it goes on with the backbone
Floats = NDArray[np.float32]
Loss = Callable[[Any, Any, Any], Any]


# Losses of (codes (n,), unit embeddings (n, d), cosines to the classes (n, classes)).


def cosface(codes: Any, _: Any, cosines: Any, *, margin: float, scale: float) -> Any:
    """Wang et al., CVPR 2018; without a margin a softmax over cosines."""
    right = tf.one_hot(codes, cosines.shape[-1])
    return _cross_entropy(codes, scale * (cosines - margin * right))


def arcface(codes: Any, _: Any, cosines: Any, *, margin: float, scale: float) -> Any:
    """Deng et al., CVPR 2019: the margin is an angle."""
    right = tf.one_hot(codes, cosines.shape[-1])
    angles = tf.acos(tf.clip_by_value(cosines, -0.9999, 0.9999))
    return _cross_entropy(codes, scale * tf.cos(tf.minimum(angles + margin * right, np.pi)))


def smoothed(codes: Any, unit: Any, cosines: Any, *, share: float) -> Any:
    """CosFace with label smoothing."""
    margin = RECIPE.margin
    assert margin is not None
    right = tf.one_hot(codes, cosines.shape[-1])
    wanted = right * (1 - share) + share / cosines.shape[-1]
    logits = margin.scale * (cosines - margin.margin * right)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))


def supervised_contrastive(codes: Any, unit: Any, _: Any) -> Any:
    """Khosla et al., NeurIPS 2020, temperature 0.1."""
    same, others = _pairs(codes)
    logits = tf.matmul(unit, unit, transpose_b=True) / 0.1
    logits = tf.where(others, logits, -1e9)
    share = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)
    of_same = tf.reduce_sum(tf.where(same, share, 0.0), axis=1)
    count = tf.reduce_sum(tf.cast(same, tf.float32), axis=1)
    return -tf.reduce_mean(of_same / tf.maximum(count, 1.0))


def multi_similarity(codes: Any, unit: Any, _: Any) -> Any:
    """Wang et al., CVPR 2019, without mining: alpha 2, beta 40, lambda 0.5."""
    same, others = _pairs(codes)
    cosines = tf.matmul(unit, unit, transpose_b=True)
    near = tf.where(same, tf.exp(-2.0 * (cosines - 0.5)), 0.0)
    far = tf.where(others & ~same, tf.exp(40.0 * (cosines - 0.5)), 0.0)
    near, far = tf.reduce_sum(near, axis=1), tf.reduce_sum(far, axis=1)
    return tf.reduce_mean(tf.math.log1p(near) / 2.0 + tf.math.log1p(far) / 40.0)


def proxy_anchor(codes: Any, _: Any, cosines: Any) -> Any:
    """Kim et al., CVPR 2020: alpha 32, delta 0.1, the classes' directions as proxies."""
    right = tf.one_hot(codes, cosines.shape[-1])
    near = tf.reduce_sum(right * tf.exp(-32.0 * (cosines - 0.1)), axis=0)
    far = tf.reduce_sum((1 - right) * tf.exp(32.0 * (cosines + 0.1)), axis=0)
    met = tf.reduce_sum(tf.cast(tf.reduce_any(right > 0, axis=0), tf.float32))
    return tf.reduce_sum(tf.math.log1p(near)) / met + tf.reduce_mean(tf.math.log1p(far))


def beside_softmax(codes: Any, unit: Any, cosines: Any, *, loss: Loss) -> Any:
    """Another loss and CosFace, both in full."""
    return loss(codes, unit, cosines) + BASE_LOSS(codes, unit, cosines)


def _pairs(codes: Any) -> tuple[Any, Any]:
    """Whether two of the batch are of one class, and whether they are two."""
    others = ~tf.eye(tf.shape(codes)[0], dtype=tf.bool)
    return (codes[:, None] == codes[None, :]) & others, others


def _cross_entropy(codes: Any, logits: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits))


# Ways to make a picture square.


def letterbox(image: Image.Image) -> Image.Image:
    """All of it, on the ground colour."""
    return ImageOps.pad(image, (RECIPE.size, RECIPE.size), color=BACKGROUND)


def centre_crop(image: Image.Image) -> Image.Image:
    """Its middle, undistorted."""
    return ImageOps.fit(image, (RECIPE.size, RECIPE.size))


assert RECIPE.margin is not None
BASE_LOSS: Loss = partial(cosface, margin=RECIPE.margin.margin, scale=RECIPE.margin.scale)

ROWS: dict[str, dict[str, Any]] = {
    "the preset's head": {},
    "one head of 1024": {"heads": 1},
    "last feature map alone": {"columns": "last"},
    "softmax over cosines, no margin": {"loss": partial(cosface, margin=0.0, scale=16.0)},
    "one view": {"views": 1},
    "no hidden layer, one head": {"hidden": 0, "heads": 1},
    "margin 0.35": {"loss": partial(cosface, margin=0.35, scale=16.0)},
    "depthwise activations alone": {"columns": "depthwise"},
    "one view, letterbox instead of squash": {"shape": letterbox},
    "one view, centre crop instead of squash": {"shape": centre_crop},
    "ArcFace, margin 0.5": {"loss": partial(arcface, margin=0.5, scale=16.0)},
    "two views (mirror)": {"views": 2},
    "supervised contrastive, batch 256": {"loss": supervised_contrastive, "batch": 256},
    "weights averaged (EMA 0.99)": {"average": 0.99},
    "margin 0.6": {"loss": partial(cosface, margin=0.6, scale=16.0)},
    "label smoothing 0.1": {"loss": partial(smoothed, share=0.1)},
    "mixup of features (0.2)": {"mixup": 0.2},
    "60 epochs": {"epochs": 60},
    "margin 1.2": {"loss": partial(cosface, margin=1.2, scale=16.0)},
    "scale 10": {"loss": partial(cosface, margin=RECIPE.margin.margin, scale=10.0)},
    "multi-similarity": {"loss": multi_similarity},
    "proxy anchor": {"loss": proxy_anchor},
    "supervised contrastive beside CosFace": {
        "loss": partial(beside_softmax, loss=supervised_contrastive)
    },
    "last feature map, GeM pooling (p = 3)": {"columns": "gem"},
    "middle blocks and the last feature map": {"columns": "all"},
    "eight heads of 128": {"heads": 8},
    "four heads of 512": {"hidden": 2048},
    "style part of 128": {"dimension": 128},
    "style part of 512": {"dimension": 512},
    "LayerNormalization before the head": {"norm": "layer"},
    "no normalization before the head": {"norm": None},
    "dropout 0.2": {"dropout": 0.2},
    "classes drawn equally often": {"balanced": True},
    "constant learning rate": {"schedule": "constant"},
    "5 epochs": {"epochs": 5},
    "30 epochs": {"epochs": 30},
    "mirror image averaged in at inference": {"crops": True},
}


def main() -> None:
    """Train every row that the result lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    bench = Bench(options.data, Path("runs/ablation"))
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    result |= {
        "command": f"python benchmarks/ablation.py {options.data}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "trained": len(bench.train),
        "validated": len(bench.validation),
    }
    rows = result.setdefault("rows", {})
    result["work_part"] = bench.work_row()
    for name, change in ROWS.items():
        if name not in rows:
            rows[name] = bench.row(**change)
            print(name, rows[name], flush=True)
            RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


class Bench:
    """Cached views of the collection's training part, split for good."""

    def __init__(self, data: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        done = (folder / "works.json").exists()
        self.dataset: Dataset = (
            load_dataset(folder)
            if done
            else prepare_dataset(read_collection(data), RECIPE.size, folder)
        )
        parts = self.dataset.parts
        pool = np.sort(np.concatenate([parts["train"], parts["validation"]]))
        pool = np.random.default_rng(123).permutation(pool)
        self.validation, self.train = np.split(pool, [len(pool) // 5])
        self.validation.sort()
        self.train.sort()
        backbone = seeded_backbone(RECIPE)
        network = build_network(RECIPE, backbone, len(self.dataset.classes))
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
        start = np.cumsum([0, *widths]).tolist()
        self.columns = {
            "pooled": slice(0, start[1]),
            "depthwise": slice(0, depthwise),
            "last": slice(start[1], start[2]),
            "gem": slice(start[2], start[3]),
            "all": slice(0, start[2]),
        }
        prefix = keras.Model(backbone.input, keras.layers.Concatenate()(outputs))
        cached = cache_prefix(
            prefix, self.dataset.pixels, folder / "features.f16", RECIPE.views, np.sort(pool)
        )
        others = np.searchsorted(np.sort(pool), self.train)
        at = [self.train] + [
            len(self.dataset.pixels) + view * len(pool) + others for view in range(RECIPE.views - 1)
        ]
        self.features = np.stack([_half(cached.plain(rows)) for rows in at])
        mirrored = len(self.dataset.pixels) + np.searchsorted(np.sort(pool), self.validation)
        self.plain = _half(cached.plain(self.validation))
        self.mirror = _half(cached.plain(mirrored))
        self.labels = [self.dataset.classes[code] for code in self.dataset.labels[self.validation]]
        self.codes = self.dataset.labels[self.train].astype(np.int32)
        self.asking = self._changed(prefix)
        self.base: Floats | None = None
        self.data, self.prefix = data, prefix
        self.work, self.asked_work, self.work_seconds = self._train_work()

    def _changed(self, prefix: keras.Model) -> NDArray[np.float16]:
        """(works, changes, numbers) of changed pictures of the first works of the validation."""
        run = compiled(prefix)
        spec = Preprocessing(height=RECIPE.size, width=RECIPE.size)
        found = []
        for row in self.validation[:: len(self.validation) // ASKED][:ASKED]:
            image = Image.fromarray(np.asarray(self.dataset.pixels[row]))
            changed = [to_pixels(change(image), spec) for change in PERTURBATIONS.values()]
            found.append(run(np.stack(changed)).astype(np.float16))
        return np.stack(found)

    def _train_work(self) -> tuple[Floats, Floats, float]:
        """The work part as the preset trains it: of the validation, and of the changed pictures."""
        start = time.monotonic()
        work = RECIPE.work
        assert work is not None
        keras.utils.set_random_seed(0)
        columns = self.columns["pooled"]
        features = self.features[0, :, self.columns["last"]].astype(np.float32)
        targets = work_targets(features, np.arange(len(features)), work.dimension)
        loss = work_loss(targets, work.temperature)
        inputs = keras.Input((columns.stop - columns.start,))
        x = keras.layers.BatchNormalization()(inputs)
        x = keras.layers.UnitNormalization()(keras.layers.Dense(work.dimension)(x))
        model = keras.Model(inputs, x)
        self._fit(model, columns, lambda rows, unit: tf.reduce_mean(loss(rows, unit)))
        seconds = time.monotonic() - start
        return _run(model, self.plain[:, columns]), self._asked(model, columns), seconds

    def work_row(self) -> dict[str, Any]:
        """Figures of the work part alone."""
        found = evaluate(self.work, self.labels)
        return {
            "precision_at_5": found.precision,
            "same_work_recall_at_1": self._recall(self.work, self.asked_work),
            "seconds": round(self.work_seconds, 1),
        }

    def row(
        self,
        *,
        loss: Loss = BASE_LOSS,
        columns: str = "pooled",
        hidden: int = RECIPE.hidden,
        heads: int = RECIPE.heads,
        dimension: int = RECIPE.dimension,
        norm: str | None = "batch",
        dropout: float = RECIPE.dropout,
        crops: bool = False,
        shape: Callable[[Image.Image], Image.Image] | None = None,
        **training: Any,
    ) -> dict[str, Any]:
        """Train one style head and measure it, alone and joined with the work part."""
        if shape:
            return self._shaped(shape)
        start = time.monotonic()
        keras.utils.set_random_seed(0)
        chosen = self.columns[columns]
        inputs = x = keras.Input((chosen.stop - chosen.start,))
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
            return tf.add_n(each) / heads

        self._fit(model, chosen, mean_loss, **training)
        seconds = time.monotonic() - start
        embeddings, cosines = _style(model, self.plain[:, chosen])
        if crops:
            mirrored, more = _style(model, self.mirror[:, chosen])
            embeddings, cosines = _unit(embeddings + mirrored), cosines + more
        return self._measured(embeddings, cosines, self._asked(model, chosen)) | {
            "seconds": round(seconds, 1)
        }

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
        kept = self.features, self.plain
        self.features, self.plain = features[None, : len(self.train)], features[len(self.train) :]
        try:
            row = self.row(views=1)
        finally:
            self.features, self.plain = kept
        del row["joined"]  # the changed pictures are squashed ones
        return row

    def _measured(self, style: Floats, cosines: Floats, asked: Floats) -> dict[str, Any]:
        if self.base is None:
            self.base = style
        wikiart = np.isin(self.labels, WIKIART)
        seven = [label for label in self.labels if label in WIKIART]
        work = RECIPE.work
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
        batch: int = RECIPE.batch,
        views: int = RECIPE.views,
        mixup: float = 0.0,
        balanced: bool = False,
        average: float | None = None,
        schedule: str = "warmup_cosine",
    ) -> None:
        """Adam on `loss(rows of the training works, the model's outputs)`."""
        rng = np.random.default_rng(0)
        works = len(self.train)
        steps = -(-works // batch) * epochs
        peak = RECIPE.phases[0].learning_rate
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
        def step(x: Any, rows: Any, others: Any, share: Any) -> None:
            with tf.GradientTape() as tape:
                found = model(x, training=True)
                value = loss(rows, found)
                if mixup:
                    value = share * value + (1 - share) * loss(others, found)
            variables = model.trainable_variables
            gradients = tape.gradient(value, [variable.value for variable in variables])
            optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

        share_of = 1 / np.bincount(self.codes)[self.codes]
        for _ in range(epochs):
            order = rng.permutation(works)
            if balanced:
                order = rng.choice(works, works, p=share_of / share_of.sum())
            for start in range(0, works, batch):
                rows = order[start : start + batch]
                x = self.features[rng.integers(0, views, len(rows)), rows, columns]
                x = x.astype(np.float32)
                share, others = 1.0, rows
                if mixup:
                    share, mixed = rng.beta(mixup, mixup), rng.permutation(len(rows))
                    x, others = share * x + (1 - share) * x[mixed], rows[mixed]
                step(
                    tf.constant(x),
                    tf.constant(rows),
                    tf.constant(others),
                    tf.constant(share, tf.float32),
                )
        if average:
            optimizer.finalize_variable_values(model.trainable_variables)


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


if __name__ == "__main__":
    main()
