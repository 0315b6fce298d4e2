from __future__ import annotations

import keras
import numpy as np
import pytest

from index.space.errors import BadInput
from training.backbones import block_of
from training.network import backbone_layers, build_network, freeze, seeded_backbone, tail
from training.prefix_cache import cache_prefix
from training.presets import load_preset


@pytest.fixture(scope="module")
def network() -> keras.Model:
    recipe = load_preset("recommended", size=64)
    return build_network(recipe, seeded_backbone(recipe), classes=3)


@pytest.mark.parametrize(
    ("unfreeze_from", "block", "behind", "trainable"),
    [
        (None, None, 0, 0),
        ("block7", "block7a", 11, 4),
        ("block6d", "block6d", 20, 7),
        (-20, "block6d", 20, 7),
        (-15, "block6d", 20, 7),  # inside block6d: moved to its start
        (50, "block4a", 98, 34),
        (0, "stem", 142, 49),
    ],
)
def test_a_cut_is_the_start_of_a_block(network, unfreeze_from, block, behind, trainable):
    """Of the layers behind the cut the convolutions train: Lite0 has 49 in all."""
    cut = freeze(network, unfreeze_from)
    assert (cut.block, cut.trainable) == (block, trainable)
    layers = backbone_layers(network)
    after = layers[len(layers) - behind :]
    assert {layer.name for layer in layers if layer.trainable} == {
        layer.name for layer in after if not isinstance(layer, keras.layers.BatchNormalization)
    }


@pytest.mark.parametrize("wrong", ["block9", 4711, -4711])
def test_a_cut_outside_the_network_is_refused(network, wrong):
    with pytest.raises(BadInput, match="unfreeze_from must be"):
        freeze(network, wrong)


def test_the_tail_behind_the_cache_is_the_whole_network(network, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    whole = tail(network, freeze(network, 0))
    for start in (None, "block7"):
        cut = freeze(network, start)
        views = cache_prefix(network, cut.output, pixels, True, tmp_path / f"{start}.f16")
        rows = np.arange(5)
        mirrored = np.array([False, True, False, True, True])
        _, embeddings = tail(network, cut).predict_on_batch(views.batch(rows, mirrored))
        shown = pixels.copy()
        shown[mirrored] = shown[mirrored, :, ::-1]
        _, expected = whole.predict_on_batch(shown)
        assert (embeddings * expected).sum(axis=1).min() > 0.9999  # float16 in between
        assert (embeddings[1] * embeddings[0]).sum() < 0.9999  # and not one vector for all


def test_every_weight_of_the_backbone_belongs_to_a_block(network):
    assert {block_of(layer.name) for layer in backbone_layers(network)} >= {"stem", "top"}
