"""Make tests/index/goldens/metrics.json: pytorch-metric-learning's own figures to compare with.

    python3.11 -m venv /tmp/goldens
    /tmp/goldens/bin/pip install torch pytorch-metric-learning faiss-cpu
    /tmp/goldens/bin/python tools/metric_goldens.py tests/index/goldens/metrics.json

torch is no dependency of artkin, so this runs in an environment of its own, once; the file holds
the vectors too, so that the test needs neither.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

METRICS = ("precision_at_1", "r_precision", "mean_average_precision", "mean_average_precision_at_r")
WORKS, DIMENSION, QUERIES = 140, 10, 40


def main(target: Path) -> None:
    """Compute and write."""
    rng = np.random.default_rng(12)
    codes = rng.integers(0, 6, WORKS)
    codes[:3] = (6, 7, 8)  # three classes of one work: nothing to find
    points = rng.normal(size=(9, DIMENSION))[codes] + 1.4 * rng.normal(size=(WORKS, DIMENSION))
    points = np.round(points / np.linalg.norm(points, axis=1, keepdims=True), 6)
    document = {
        "made_by": "tools/metric_goldens.py",
        "versions": {name: version(name) for name in ("torch", "pytorch-metric-learning", "numpy")},
        "queries": QUERIES,
        "points": points.tolist(),
        "codes": codes.tolist(),
        "leave_one_out": figures(points, codes, points, codes, within=True),
        "against_gallery": figures(
            points[:QUERIES], codes[:QUERIES], points[QUERIES:], codes[QUERIES:], within=False
        ),
    }
    target.write_text(json.dumps(document) + "\n", encoding="utf-8")


def figures(queries: Any, codes: Any, gallery: Any, gallery_codes: Any, within: bool) -> Any:
    """AccuracyCalculator's figures over whole rankings by cosine."""
    calculator = AccuracyCalculator(
        include=METRICS, k=len(gallery) - within, knn_func=CustomKNN(CosineSimilarity())
    )
    tensors = [torch.tensor(array) for array in (queries, codes, gallery, gallery_codes)]
    return calculator.get_accuracy(*tensors, ref_includes_query=within)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
