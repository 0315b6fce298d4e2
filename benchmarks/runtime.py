"""OpenVINO against TensorFlow on one exported SavedModel, f32 both, interleaved in one run.

    python -m benchmarks.runtime models/art-1

Writes `benchmarks/results/runtime.json`: TensorFlow's time over OpenVINO's, per batch size, the
median and the quartiles of the rounds' ratios, and the largest difference of their vectors.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import training  # noqa: F401  quietly imports TensorFlow
from benchmarks import command
from index.space.encoder import Encoder
from index.space.model import OUTPUT, SAVED_MODEL, load_model

ROUNDS, PICTURES = 30, 32


def main() -> None:
    """Measure and write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    options = parser.parse_args()
    import tensorflow as tf  # noqa: PLC0415

    model = load_model(options.model)
    signature = tf.saved_model.load(str(model.folder / SAVED_MODEL)).signatures["serving_default"]
    spec = model.manifest.preprocessing
    shape = (PICTURES, spec.height, spec.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def tensorflow(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = signature(pixels=tf.constant(batch))[OUTPUT].numpy()
        return found

    result: dict[str, Any] = {
        "command": f"python -m benchmarks.runtime {options.model}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "backbone": model.manifest.backbone,
        "input": spec.height,
        "rounds": ROUNDS,
        "largest_difference": float(
            np.abs(tensorflow(pixels) - Encoder(model, batch=16).encode(pixels)).max()
        ),
    }
    for size in (1, 16):
        result[f"batch_{size}"] = compare(
            tensorflow, Encoder(model, batch=size).encode, pixels, size
        )
    path = Path("benchmarks/results/runtime.json")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def compare(
    slow: Callable[..., Any], fast: Callable[..., Any], pixels: NDArray[np.uint8], size: int
) -> dict[str, float]:
    """Ratios of the two runtimes' seconds over rounds that take turns."""
    rounds = [(seconds(slow, pixels, size), seconds(fast, pixels, size)) for _ in range(ROUNDS + 2)]
    times = np.array(rounds[2:])  # the first two compile and warm up
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], (25, 50, 75))
    return {
        "tensorflow_over_openvino": round(float(middle), 2),
        "quartile_low": round(float(low), 2),
        "quartile_high": round(float(high), 2),
        "openvino_ms_a_picture": round(float(np.median(times[:, 1])) / PICTURES * 1000, 2),
    }


def seconds(embed: Callable[..., Any], pixels: NDArray[np.uint8], size: int) -> float:
    """Seconds to embed all pictures in batches."""
    start = time.perf_counter()
    for first in range(0, len(pixels), size):
        embed(pixels[first : first + size])
    return time.perf_counter() - start


if __name__ == "__main__":
    command.run(main)
