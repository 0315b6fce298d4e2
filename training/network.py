"""The network: backbone, pooling, the parts of the embedding, classifier; what each phase trains.

    pixels uint8 -> backbone -> pool -> [pool_bn] -> dropout -> [hidden] -> style (d) -> classes
                                            `-----------------------------> [work (d)]

With a margin the style part is made by heads that share nothing behind the dropout: each sees its
piece of the hidden layer and has a classifier of its own, so that they err differently and are
better together, as an ensemble is.

What is served is the embedding: each part L2-normalised and scaled by the square root of its
weight, side by side; so it has unit norm, and a product of two is the parts' cosines weighted.

Style is in the middle blocks: their depthwise activations averaged over the picture, and the means
and deviations of their outputs (the statistics that style transfer works with: Gatys et al., CVPR
2016; Huang and Belongie, ICCV 2017), know more of it than the last feature map (docs/decisions.md).

BatchNormalization layers of the backbone stay frozen in every phase: statistics of 32 pictures
would overwrite those of a million, the usual reason why accuracy falls on unfreezing
(https://keras.io/guides/transfer_learning).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from index.space.errors import BadInput
from index.space.model import Part
from training.backbones import block_of, build_backbone
from training.losses import CosineClasses
from training.recipe import Recipe

POOL, POOL_BN, STYLE, WORK, CLASSES = (
    "pool",
    "pool_bn",
    "style_embedding",
    "work_embedding",
    "classes",
)
# Behind the backbone, which a GPU trains in bfloat16: three digits are no unit norm.
EXACT = {"dtype": "float32"}
_POOLS = ("mean_", "deviation_")
_HEAD = (POOL, POOL_BN, "dropout", "hidden", "hidden_dropout", "heads", STYLE, WORK, CLASSES)


@keras.saving.register_keras_serializable("artkin")
class GlobalDeviation2D(keras.layers.Layer):  # type: ignore[misc]
    """Standard deviation of each channel over the picture: (n, h, w, c) to (n, c)."""

    def call(self, inputs: Any) -> Any:
        """The root is of a variance that is never 0, so that it has a derivative."""
        return keras.ops.sqrt(keras.ops.var(inputs, axis=(1, 2)) + 1e-6)


def seeded_backbone(recipe: Recipe, weights: Path | None = None) -> keras.Model:
    """The recipe's backbone; from here on Keras' random numbers follow the recipe's seed.

    Raises:
        BadInput: see `training.backbones.build_backbone`.
    """
    keras.utils.set_random_seed(recipe.seed)
    return build_backbone(recipe.backbone, recipe.size, weights)


def build_network(recipe: Recipe, backbone: keras.Model, classes: int) -> keras.Model:
    """A functional model, uint8 pixels (n, size, size, 3) to the classifier's outputs
    (n, classes), with a margin those of every head (n, heads, classes), and, where the recipe has
    one, the work part (n, d) before it is normalised.

    Raises:
        BadInput: the backbone has no depthwise activations in the blocks to pool.
    """
    pooled = _pool(recipe, backbone)
    layers = keras.layers
    if recipe.batch_norm:
        pooled = layers.BatchNormalization(name=POOL_BN, **EXACT)(pooled)
    x = layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout", **EXACT)(pooled)
    if recipe.hidden:
        x = layers.Dense(recipe.hidden, activation="gelu", name="hidden", **EXACT)(x)
        dropout = layers.Dropout(recipe.dropout, seed=recipe.seed, name="hidden_dropout", **EXACT)
        x = dropout(x)
    if recipe.margin:
        heads = recipe.heads
        x = layers.Reshape((heads, -1), name="heads", **EXACT)(x)
        shape = (heads, recipe.dimension // heads)
        x = layers.EinsumDense("nhi,hid->nhd", shape, name=STYLE, **EXACT)(x)
        outputs = [CosineClasses(classes, name=CLASSES, **EXACT)(x)]
    else:
        x = layers.Dense(recipe.dimension, name=STYLE, **EXACT)(x)
        outputs = [layers.Dense(classes, name=CLASSES, **EXACT)(x)]
    if recipe.work:
        outputs.append(layers.Dense(recipe.work.dimension, name=WORK, **EXACT)(pooled))
    return keras.Model(backbone.inputs[0], outputs, name="artkin")


def parts_of(recipe: dict[str, Any]) -> list[Part]:
    """The embedding's parts in order, of a recipe as `Recipe.as_dict` gives it."""
    work = recipe["work"]
    share = work["weight"] if work else 0.0
    parts = [Part(name="style", width=recipe["dimension"], weight=1 - share)]
    if work:
        parts.append(Part(name="work", width=work["dimension"], weight=share))
    return parts


def embedding(network: keras.Model, parts: list[Part]) -> Any:
    """The tensor that is served, (n, d) of unit norm."""
    unit = [_unit(network.get_layer(f"{part.name}_embedding").output, part) for part in parts]
    if len(parts) == 1:
        return unit[0]
    scaled = [
        keras.layers.Rescaling(part.weight**0.5, name=f"weighted_{part.name}", **EXACT)(x)
        for part, x in zip(parts, unit, strict=True)
    ]
    return keras.layers.Concatenate(name="parts", **EXACT)(scaled)


def _unit(x: Any, part: Part) -> Any:
    """(n, d) of unit norm, of (n, d) or of heads side by side, each of which counts alike."""
    x = keras.layers.UnitNormalization(name=f"unit_{part.name}", **EXACT)(x)
    if len(x.shape) == 2:
        return x
    x = keras.layers.Rescaling(x.shape[1] ** -0.5, name=f"heads_{part.name}", **EXACT)(x)
    return keras.layers.Flatten(name=f"flat_{part.name}", **EXACT)(x)


def backbone_layers(network: keras.Model) -> list[Any]:
    """The backbone's layers in order, as phases count them."""
    return [
        layer
        for layer in network.layers
        if layer.name not in _HEAD and not layer.name.startswith(_POOLS)
    ]


@dataclass(frozen=True)
class Cut:
    """Where the trainable part of the backbone begins.

    Args:
        first: the first trainable layer of the backbone's, their number where there is none.
        block: the first trainable block, or None where only the head is trained.
        frozen: the tensors that the frozen layers hand over; none where nothing is frozen.
        trainable: backbone layers behind the cut that hold weights to train.
    """

    first: int
    block: str | None
    frozen: list[Any]
    trainable: int


def freeze(network: keras.Model, unfreeze_from: int | str | None) -> Cut:
    """Set what is trainable; the caller compiles again, or nothing changes.

    Args, returns, raises: see `cut_at`.
    """
    cut = cut_at(network, unfreeze_from)
    for index, layer in enumerate(backbone_layers(network)):
        layer.trainable = index >= cut.first and not _is_norm(layer)
    return cut


def cut_at(network: keras.Model, unfreeze_from: int | str | None) -> Cut:
    """Where a phase's trainable part begins.

    Args:
        unfreeze_from: see `training.recipe.Phase`.

    Raises:
        BadInput: a block that the backbone lacks, or more layers than it has.
    """
    layers = backbone_layers(network)
    first = _first_trainable(layers, unfreeze_from)
    trainable = sum(1 for layer in layers[first:] if layer.weights and not _is_norm(layer))
    if first == len(layers):
        return Cut(first, None, [network.get_layer(POOL).output], 0)
    block = block_of(layers[first].name)
    if first == 0:
        return Cut(first, block, [], trainable)
    before = {layer.name for layer in layers[:first]}
    pools = [
        layer.output
        for layer in network.layers
        if layer.name.startswith(_POOLS) and layer.name.partition("_")[2] in before
    ]
    return Cut(first, block, [layers[first - 1].output, *pools], trainable)


def _is_norm(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def tail(network: keras.Model, cut: Cut, parts: list[Part]) -> keras.Model:
    """From the cut (or the pixels) to (classifier's outputs, embedding), layers shared."""
    return keras.Model(
        behind(network, cut), [network.get_layer(CLASSES).output, embedding(network, parts)]
    )


def behind(network: keras.Model, cut: Cut) -> Any:
    """The inputs of what is behind the cut: the pixels, one tensor or a list of them."""
    if len(cut.frozen) > 1:
        return cut.frozen
    return cut.frozen[0] if cut.frozen else network.input


def resized(model: keras.Model, size: int) -> keras.Model:
    """The same layers for pictures (n, size, size, 3)."""
    pixels = keras.Input((size, size, 3), dtype="uint8")
    return keras.models.clone_model(model, pixels, clone_function=lambda layer: layer)


def _pool(recipe: Recipe, backbone: keras.Model) -> Any:
    if not recipe.pooled:
        return keras.layers.GlobalAveragePooling2D(name=POOL, **EXACT)(backbone.output)
    named = [layer for layer in backbone.layers if layer.name.startswith(recipe.pooled)]
    taps = [layer for layer in named if layer.name == f"{block_of(layer.name)}_activation"]
    if not taps:
        raise BadInput(
            f"{recipe.backbone} has no depthwise activations in {', '.join(recipe.pooled)}; train "
            "it with --preset recommended"
        )
    ends = {block_of(layer.name)[: len("block4")]: layer for layer in named}.values()
    average, deviate = keras.layers.GlobalAveragePooling2D, GlobalDeviation2D
    pooled = [average(name=f"mean_{layer.name}", **EXACT)(layer.output) for layer in [*taps, *ends]]
    pooled += [deviate(name=f"deviation_{layer.name}", **EXACT)(layer.output) for layer in ends]
    return keras.layers.Concatenate(name=POOL, **EXACT)(pooled)


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
