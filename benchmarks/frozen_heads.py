"""Style heads on a frozen backbone, all trained and measured in one way, for `ablation.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from benchmarks import style_losses as losses
from benchmarks import work_parts
from benchmarks.frozen_features import (
    EPOCHS,
    Floats,
    FrozenFeatures,
    Vectors,
    half,
    joined,
    run,
    unit,
)
from benchmarks.paintings import WIKIART
from benchmarks.style_losses import BASE, Loss
from index.space.comparison import compare
from index.space.metrics import evaluate
from index.space.picture_limits import COLLECTION_LIMITS
from index.space.preprocessing import decode, read_file
from training.inference import compiled
from training.losses import CosineClasses

Vary = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


class StyleHeads:
    """Heads to compare: the first that is trained is the base of the others.

    Args:
        work: the part that each is joined with.
    """

    def __init__(self, frozen: FrozenFeatures, work: Vectors) -> None:
        self.frozen, self.work = frozen, work
        self.base: Vectors | None = None

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
            options: of `_head` and `FrozenFeatures.fit`.
        """
        if shape:
            return self._shaped(shape)
        if varied_by:
            return self._varied(varied_by)
        if backbone:
            return self._of_backbone(backbone)
        start = time.process_time()
        chosen = self.frozen.columns[columns]
        answers = None
        if teachers:
            heads = [self._head(chosen, loss, epochs, 1 + seed) for seed in range(teachers)]
            said = [_style(head, self.frozen.features[0, :, chosen])[1] for head in heads]
            assert BASE.margin is not None
            answers = tf.nn.softmax(BASE.margin.scale * np.mean(said, axis=0))
        model = self._head(chosen, loss, epochs, 0, answers, **options)
        seconds = time.process_time() - start
        seen = [_style(model, look[:, chosen]) for look in self.frozen.looks[:looks]]
        style = self.frozen.vectors(lambda features: _style(model, features)[0], chosen)
        style = style._replace(works=unit(np.sum([embeddings for embeddings, _ in seen], axis=0)))
        cosines = np.sum([cosines for _, cosines in seen], axis=0)
        return self._measured(style, cosines) | {"cpu_seconds": seconds}

    def _head(
        self,
        columns: slice,
        loss: Loss,
        epochs: int,
        seed: int,
        answers: Any = None,
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
        classes = len(self.frozen.dataset.classes)
        outputs = [keras.layers.UnitNormalization()(x), CosineClasses(classes)(x)]
        model = keras.Model(inputs, outputs)

        def mean_loss(rows: Any, found: Any) -> Any:
            codes = tf.gather(self.frozen.codes, rows)
            embeddings, cosines = found
            each = [loss(codes, embeddings[:, head], cosines[:, head]) for head in range(heads)]
            value = tf.add_n(each) / heads
            if answers is not None:
                assert BASE.margin is not None
                own = BASE.margin.scale * tf.reduce_mean(cosines, axis=1)
                wanted = tf.gather(answers, rows)
                value += tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, own))
            return value

        self.frozen.fit(model, columns, mean_loss, epochs=epochs, seed=seed, **training)
        return model

    def _of_backbone(self, name: str) -> dict[str, Any]:
        frozen = FrozenFeatures(self.frozen.data, self.frozen.folder, name)
        other = StyleHeads(frozen, work_parts.taught(frozen, work_parts.half_whitened))
        other.base = self.base
        return other.row()

    def _shaped(self, shape: Callable[[Image.Image], Image.Image]) -> dict[str, Any]:
        """The row of one view, of pictures made square in another way; nothing is joined."""
        frozen = self.frozen
        names = [frozen.dataset.names[row] for row in [*frozen.train, *frozen.validation]]
        pixels = [
            np.asarray(shape(decode(read_file(frozen.data / name), COLLECTION_LIMITS)))
            for name in names
        ]
        features = half(compiled(frozen.prefix)(np.stack(pixels)))
        train, validation = np.split(features, [len(frozen.train)])
        with self._instead(train[None], [validation]):
            row = self.row(views=1)
        del row["joined"]  # the changed pictures are squashed ones
        return row

    def _varied(self, vary: Vary) -> dict[str, Any]:
        """The row of training pictures varied in another way."""
        frozen, rng = self.frozen, np.random.default_rng(0)
        extract = compiled(frozen.prefix)
        features = frozen.features[:1]
        for _ in range(BASE.views - 1):
            view = [
                half(extract(vary(np.asarray(frozen.dataset.pixels[rows]), rng)))
                for rows in np.array_split(frozen.train, -(-len(frozen.train) // 64))
            ]
            features = np.concatenate([features, np.concatenate(view)[None]])
        with self._instead(features, frozen.looks):
            return self.row()

    @contextmanager
    def _instead(
        self, features: NDArray[np.float16], looks: list[NDArray[np.float16]]
    ) -> Iterator[None]:
        """Other pictures while the block runs."""
        frozen = self.frozen
        kept = frozen.features, frozen.looks
        frozen.features, frozen.looks = features, looks
        try:
            yield
        finally:
            frozen.features, frozen.looks = kept

    def _measured(self, style: Vectors, cosines: Floats) -> dict[str, Any]:
        if self.base is None:
            self.base = style
        assert BASE.work is not None
        frozen, served = self.frozen, joined(style, self.work, BASE.work.weight)
        wikiart = np.isin(frozen.labels, WIKIART)
        seven = [label for label in frozen.labels if label in WIKIART]
        found = evaluate(style.works, frozen.labels)
        right = cosines.argmax(axis=1) == frozen.dataset.labels[frozen.validation]
        against = asdict(compare(style.works, self.base.works, frozen.labels))
        return {
            "accuracy": float(right.mean()),
            "precision_at_5": asdict(found.measures["precision_at_5"]),
            "precision_at_5_wikiart7": evaluate(style.works[wikiart], seven).precision,
            "silhouette_cosine": found.silhouette_cosine,
            "difference": against["difference"],
            "real": against["real"],
            "joined": {
                "precision_at_5": evaluate(served.works, frozen.labels).precision,
                "precision_at_5_wikiart7": evaluate(served.works[wikiart], seven).precision,
                "same_work_recall_at_1": frozen.recall(served),
            },
        }


def _style(model: keras.Model, features: NDArray[np.float16]) -> tuple[Floats, Floats]:
    """Embeddings (n, d) of all heads, unit norm, and the mean of their cosines (n, classes)."""
    embeddings, cosines = run(model, features)
    return unit(embeddings.reshape(len(embeddings), -1)), cosines.mean(axis=1)
