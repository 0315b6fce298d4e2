from __future__ import annotations

import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from PIL import Image
from sklearn.datasets import load_sample_image

from index.space.errors import BadInput
from training.backbones import block_of, build_backbone, imagenet_classifier, size_of

BELL_COTE, MONASTERY, PALACE = 442, 663, 698  # ImageNet's own numbers


def test_lite0_sees_a_chinese_palace():
    photograph = Image.fromarray(load_sample_image("china.jpg")).crop((106, 0, 533, 427))
    pixels = np.asarray(photograph.resize((224, 224), Image.Resampling.BICUBIC))[None]
    features = np.asarray(build_backbone("lite0", 224)(pixels)).mean(axis=(1, 2))
    kernel, bias = imagenet_classifier()
    best = np.argsort(-(features @ kernel + bias)[0])[:3]
    assert set(best.tolist()) == {BELL_COTE, MONASTERY, PALACE}


def test_blocks_stand_in_order_and_in_one_piece():
    blocks = [block_of(layer.name) for layer in build_backbone("lite0", 64).layers]
    changes = [b for a, b in zip(["", *blocks], blocks, strict=False) if a != b]
    assert changes == sorted(changes, key=lambda name: {"stem": "a", "top": "z"}.get(name, name))
    assert len(changes) == len(set(changes)) == 18  # stem, 16 units, top


def test_an_unknown_backbone_lists_the_valid_ones():
    with pytest.raises(BadInput, match=r"one of lite0, b0, .*received 'b99'"):
        size_of("b99")


@pytest.mark.slow
def test_local_weights_are_taken_and_foreign_ones_refused(tmp_path):
    trained = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    file = tmp_path / "efficientnetb0_notop.h5"
    with h5py.File(file, "w") as group:  # the format of the files that keras.applications loads
        legacy_h5_format.save_weights_to_hdf5_group(group, trained)
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
