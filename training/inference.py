"""Run a network whose weights stand still: OpenVINO needs a third of TensorFlow's time on a
processor (`benchmarks/runtime.py`); on a GPU it is TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from index.space.encoder import compile_graph, converted, each_alone

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def on_gpu() -> bool:
    """Whether TensorFlow has a GPU to place its work on."""
    return bool(keras.distribution.list_devices("gpu"))


def compiled(model: keras.Model) -> Run:
    """A function from uint8 (n, height, width, 3) to the model's one output, float32 (n, ...).

    Later changes of the weights do not reach it.
    """
    if on_gpu():
        still = keras.models.clone_model(model)
        still.set_weights(model.get_weights())
        # Layers of the backbone may answer in bfloat16, which no file is of.
        return lambda pixels: np.asarray(still.predict_on_batch(pixels), np.float32)
    shape = (1, *model.inputs[0].shape[1:])
    signature = tf.TensorSpec(shape, tf.uint8)
    traced = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(
        signature
    )
    graph = compile_graph(converted(traced), shape, "THROUGHPUT")
    return lambda pixels: each_alone(graph, pixels)
