from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from index.space.errors import BadInput
from training.backbones import block_of
from training.network import (
    backbone_layers,
    build_network,
    cut_at,
    embedding,
    freeze,
    parts_of,
    resized,
    seeded_backbone,
    tail,
)
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


@pytest.mark.parametrize(
    ("preset", "starts"),
    [("recommended", (None, "block7")), ("artkin", (None, "block4", "block6", "block6c"))],
)
def test_the_tail_behind_the_cache_is_the_whole_network(preset, starts, tmp_path):
    recipe = load_preset(preset, size=64)
    parts = parts_of(recipe.as_dict())
    network = build_network(recipe, seeded_backbone(recipe), classes=3)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    whole = tail(network, freeze(network, 0), parts)
    expected = [whole.predict_on_batch(pixels)[1], whole.predict_on_batch(pixels[:, :, ::-1])[1]]
    for start in starts:
        cut = freeze(network, start)
        prefix = keras.Model(network.input, cut.frozen)
        views = cache_prefix({tmp_path / f"{start}.f16": prefix}, pixels, 2, np.arange(5))
        behind = tail(network, cut, parts)
        _, plain = behind.predict_on_batch(views.plain(np.arange(5)))
        assert (plain * expected[0]).sum(axis=1).min() > 0.9999  # float16 in between
        assert (plain[1] * plain[0]).sum() < 0.9999  # and not one vector for all
        _, varied = behind.predict_on_batch(views.varied(np.arange(5), np.random.default_rng(1)))
        nearest = np.stack([(varied * view).sum(axis=1) for view in expected])
        assert nearest.max(axis=0).min() > 0.9999
        assert set(nearest.argmax(axis=0)) == {0, 1}  # some mirrored, some not


def test_frozen_layers_that_two_phases_share_run_once_for_both(network, tmp_path):
    rng = np.random.default_rng(0)
    size = network.input.shape[1]
    pixels = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    late, early = (
        keras.Model(network.input, cut_at(network, start).frozen) for start in (None, "block6")
    )
    paths = [tmp_path / name for name in ("late", "early", "late alone", "early alone")]
    rows = np.arange(3)
    cache_prefix({paths[0]: late, paths[1]: early}, pixels, 2, rows)
    written = [path.stat().st_mtime_ns for path in paths[:2]]
    for path, alone, prefix in zip(paths, paths[2:], (late, early), strict=False):
        found = cache_prefix({path: prefix}, pixels, 2, rows)  # as it was left
        expected = cache_prefix({alone: prefix}, pixels, 2, rows)
        for ours, theirs in zip(_each(found.plain(rows)), _each(expected.plain(rows)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=0.01)
            assert np.ptp(ours) > 0.1
    assert [path.stat().st_mtime_ns for path in paths[:2]] == written


def _each(tensors):
    return tensors if isinstance(tensors, list) else [tensors]


def test_a_resized_network_has_the_same_weights_and_takes_pictures_of_another_size():
    recipe = load_preset("artkin", size=64)
    network = build_network(recipe, seeded_backbone(recipe), classes=3)
    other = load_preset("artkin", size=96)
    expected = build_network(other, seeded_backbone(other), classes=3)
    expected.set_weights(network.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    larger = resized(network, 96)
    for found, wanted in zip(
        larger.predict_on_batch(pixels), expected.predict_on_batch(pixels), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert {id(weight) for weight in larger.weights} == {id(weight) for weight in network.weights}


def test_the_embedding_s_parts_are_weighted_by_their_share_of_the_score():
    recipe = load_preset("artkin", size=64)
    parts = parts_of(recipe.as_dict())
    assert [(part.name, part.width, part.weight) for part in parts] == [
        ("style", 256, 0.6),
        ("work", 256, 0.4),
    ]
    network = build_network(recipe, seeded_backbone(recipe), classes=3)
    served = keras.Model(network.input, embedding(network, parts))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    vectors = served.predict_on_batch(pixels)
    np.testing.assert_allclose((vectors[:, :256] ** 2).sum(axis=1), 0.6, rtol=1e-5)
    np.testing.assert_allclose((vectors[:, 256:] ** 2).sum(axis=1), 0.4, rtol=1e-5)


def test_every_weight_of_the_backbone_belongs_to_a_block(network):
    assert {block_of(layer.name) for layer in backbone_layers(network)} >= {"stem", "top"}


def test_pooled_blocks_are_the_statistics_of_their_activations():
    """Of block 6: four depthwise activations' means, the output's means and its deviations."""
    recipe = dataclasses.replace(load_preset("artkin", size=64), pooled=("block6",))
    network = build_network(recipe, seeded_backbone(recipe), classes=3)
    taps = [f"block6{unit}_activation" for unit in "abcd"]
    *activations, output, pooled = keras.Model(
        network.input,
        [network.get_layer(name).output for name in (*taps, "block6d_add", "pool")],
    ).predict_on_batch(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8))
    expected = [tensor.mean(axis=(1, 2)) for tensor in (*activations, output)]
    expected.append(np.sqrt(output.var(axis=(1, 2)) + 1e-6))
    np.testing.assert_allclose(pooled, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)
