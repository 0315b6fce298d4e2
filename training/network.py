"""The network: backbone, pooling, embedding, classifier; what of it each phase trains.

    pixels uint8 -> backbone -> pool -> [pool_bn] -> dropout -> embedding (d) -> classes (logits)

What is served is the embedding, L2-normalised. BatchNormalization layers of the backbone stay
frozen in every phase: statistics of 32 pictures would overwrite those of a million, which is the
usual reason why accuracy falls on unfreezing (https://keras.io/guides/transfer_learning).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from index.space.errors import BadInput
from training.backbones import block_of, build_backbone
from training.recipe import Recipe

POOL, EMBEDDING, CLASSES = "pool", "style_embedding", "classes"
_HEAD = (POOL, "pool_bn", "dropout", EMBEDDING, CLASSES)


def seeded_backbone(recipe: Recipe, weights: Path | None = None) -> keras.Model:
    """The recipe's backbone; from here on Keras' random numbers follow the recipe's seed.

    Raises:
        BadInput: see `training.backbones.build_backbone`.
    """
    keras.utils.set_random_seed(recipe.seed)
    return build_backbone(recipe.backbone, recipe.size, weights)


def build_network(recipe: Recipe, backbone: keras.Model, classes: int) -> keras.Model:
    """A functional model, uint8 pixels (n, size, size, 3) to logits (n, classes)."""
    x = keras.layers.GlobalAveragePooling2D(name=POOL)(backbone.output)
    if recipe.batch_norm:
        x = keras.layers.BatchNormalization(name="pool_bn")(x)
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    x = keras.layers.Dense(recipe.dimension, name=EMBEDDING)(x)
    x = keras.layers.Dense(classes, name=CLASSES)(x)
    return keras.Model(backbone.inputs[0], x, name="artkin")


def backbone_layers(network: keras.Model) -> list[Any]:
    """The backbone's layers in order, as phases count them."""
    return [layer for layer in network.layers if layer.name not in _HEAD]


@dataclass(frozen=True)
class Cut:
    """Where the trainable part of the backbone begins.

    Args:
        block: the first trainable block, or None where only the head is trained.
        output: the frozen prefix's last tensor, or None where nothing is frozen.
        trainable: backbone layers behind the cut that hold weights to train.
    """

    block: str | None
    output: Any | None
    trainable: int


def freeze(network: keras.Model, unfreeze_from: int | str | None) -> Cut:
    """Set what is trainable; the caller compiles again, or nothing changes.

    Args:
        unfreeze_from: see `training.recipe.Phase`.

    Raises:
        BadInput: a block that the backbone lacks, or more layers than it has.
    """
    layers = backbone_layers(network)
    first = _first_trainable(layers, unfreeze_from)
    for index, layer in enumerate(layers):
        layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)
    trainable = sum(1 for layer in layers if layer.trainable_weights)
    if first == len(layers):
        return Cut(None, network.get_layer(POOL).output, 0)
    if first == 0:
        return Cut(block_of(layers[0].name), None, trainable)
    return Cut(block_of(layers[first].name), layers[first - 1].output, trainable)


def tail(network: keras.Model, cut: Cut) -> keras.Model:
    """From the cut (or the pixels) to (logits, unit-norm embedding), layers shared."""
    start = network.input if cut.output is None else cut.output
    unit = keras.layers.UnitNormalization(name="unit")(network.get_layer(EMBEDDING).output)
    return keras.Model(start, [network.output, unit])


def untrained(network: keras.Model) -> keras.Model:
    """From the pixels to the unit-norm pooled features, (n, channels): no head of ours."""
    unit = keras.layers.UnitNormalization(name="unit")(network.get_layer(POOL).output)
    return keras.Model(network.input, unit)


def _first_trainable(layers: list[Any], unfreeze_from: int | str | None) -> int:
    if unfreeze_from is None:
        return len(layers)
    blocks = [block_of(layer.name) for layer in layers]
    if isinstance(unfreeze_from, str):
        for index, block in enumerate(blocks):
            if block.startswith(unfreeze_from):
                return index
        valid = ", ".join(dict.fromkeys(blocks))
        raise BadInput(f"unfreeze_from must be one of {valid}; received {unfreeze_from!r}")
    if not -len(layers) <= unfreeze_from <= len(layers):
        raise BadInput(
            f"unfreeze_from must be a layer from {-len(layers)} to {len(layers)}; received "
            f"{unfreeze_from}"
        )
    if unfreeze_from == len(layers):
        return unfreeze_from
    # Half a block trained is neither: the cut moves to the block's first layer.
    return blocks.index(blocks[unfreeze_from])
