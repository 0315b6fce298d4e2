"""On real paintings, where the development collection is beside the checkout."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.paintings import WIKIART
from index.collection import read_collection
from index.reading import in_order, read_picture
from index.space.metrics import evaluate
from index.space.preprocessing import Preprocessing
from training.backbones import build_backbone

PAINTINGS = Path(__file__).parents[3] / "shared" / "data" / "paintings" / "test"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not PAINTINGS.is_dir(), reason=f"no paintings in {PAINTINGS}"),
]


def test_imagenet_features_give_the_figures_measured_elsewhere():
    """P@5 0.389 over ten classes and 0.337 over WikiArt's seven, silhouettes -0.001 and -0.005,
    were measured with another implementation of reading, backbone and metrics."""
    works = read_collection(PAINTINGS).works
    spec = Preprocessing(height=224, width=224)
    read = in_order(lambda work: read_picture(work.path, spec)[1], works)
    pixels = np.stack([result for _, result in read])
    backbone = build_backbone("lite0", 224)
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    embedder = keras.Model(backbone.input, keras.layers.UnitNormalization()(pooled))
    embeddings = embedder.predict(pixels, batch_size=64, verbose=0)
    labels = np.array([work.label for work in works])
    ten = evaluate(embeddings, labels.tolist())
    chosen = np.isin(labels, WIKIART)
    seven = evaluate(embeddings[chosen], labels[chosen].tolist())
    assert ten.precision == pytest.approx(0.389, abs=0.005)
    assert seven.precision == pytest.approx(0.337, abs=0.005)
    assert ten.silhouette == pytest.approx(-0.001, abs=0.001)
    assert ten.silhouette_cosine == pytest.approx(-0.005, abs=0.001)
