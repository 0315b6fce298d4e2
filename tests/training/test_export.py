from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from index.space.encoder import Encoder
from index.space.errors import ArtefactError, BadInput
from index.space.metrics import evaluate
from index.space.model import INPUT, OUTPUT, SAVED_MODEL, UNTRAINED, load_model
from training.dataset import load_dataset
from training.export import _check_parity, canary_pixels, export, load_served
from training.report import REPORT


@pytest.fixture(scope="module")
def exported(tmp_path_factory, run):
    target = tmp_path_factory.mktemp("models") / "small-1"
    export(run, target)
    return target


def test_the_signature_is_named_and_has_nothing_random(exported):
    loaded = tf.saved_model.load(str(exported / SAVED_MODEL))
    signature = loaded.signatures["serving_default"]
    assert list(signature.structured_input_signature[1]) == [INPUT]
    assert signature.structured_input_signature[1][INPUT].dtype == tf.uint8
    assert list(signature.structured_outputs) == [OUTPUT]
    operations = {op.type for op in signature.graph.get_operations()}
    assert not {name for name in operations if "Random" in name}


def test_each_weight_is_written_once(exported, run):
    written = tf.train.list_variables(str(exported / SAVED_MODEL / "variables" / "variables"))
    served = load_served(run, json.loads((run / REPORT).read_text()))
    shapes = [shape for name, shape in written if name.endswith("VARIABLE_VALUE")]
    assert sorted(map(tuple, shapes)) == sorted(tuple(weight.shape) for weight in served.weights)


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_openvino_gives_tensorflow_s_numbers(exported, batch):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    signature = tf.saved_model.load(str(exported / SAVED_MODEL)).signatures["serving_default"]
    expected = signature(pixels=tf.constant(pixels))[OUTPUT].numpy()
    found = Encoder(load_model(exported), batch=batch).encode(pixels)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_different_pictures_have_different_embeddings(exported, run):
    """Scaling twice, or a dead input, makes all vectors alike."""
    pixels = np.array(load_dataset(run).pixels[:24])
    embeddings = Encoder(load_model(exported), batch=8).encode(pixels)
    similarity = embeddings @ embeddings.T
    assert similarity[np.triu_indices(24, 1)].mean() < 0.9


def test_a_moved_model_is_the_same_space(exported, tmp_path):
    moved = tmp_path / "elsewhere-9"
    shutil.copytree(exported, moved)
    assert load_model(moved).digest == load_model(exported).digest
    Encoder(load_model(moved), batch=1).check_canaries()


def test_the_manifest_says_what_was_measured(exported, run):
    manifest = load_model(exported).manifest
    report = json.loads((run / "report.json").read_text())
    kept = report["phases"][report["kept_phase"] - 1]["test"]
    assert manifest.report["precision"] == kept["precision"]
    assert (manifest.name, manifest.version, manifest.dimension) == ("small", "1", 32)
    assert [(part.name, part.width) for part in manifest.parts] == [("style", 32)]


def test_what_it_started_from_is_there_to_compare_with(exported, run):
    """The figure that training reports of the untrained features, from the exported model."""
    dataset = load_dataset(run)
    rows = dataset.parts["test"]
    encoder = Encoder(load_model(exported), batch=1, saved_model=UNTRAINED)
    features = encoder.encode(np.array(dataset.pixels[rows]))
    labels = [dataset.classes[code] for code in dataset.labels[rows]]
    report = json.loads((run / REPORT).read_text())
    assert evaluate(features, labels).precision == pytest.approx(report["untrained"]["precision"])


def test_seen_works_are_those_of_training_and_validation(exported, run):
    dataset = load_dataset(run)
    unseen = {dataset.digests[row] for row in dataset.parts["test"]}
    seen = load_model(exported).seen_works()
    assert len(seen) == len(dataset.parts["train"]) + len(dataset.parts["validation"])
    assert not seen & unseen


def test_a_model_that_computes_something_else_is_not_exported(exported):
    pixels = canary_pixels(64)
    wrong = np.zeros((len(pixels), 32), np.float32)
    wrong[:, 0] = 1
    with pytest.raises(ArtefactError, match="nothing was exported"):
        _check_parity(exported, pixels, wrong)


def test_bad_targets_and_runs_are_one_line(run, exported, tmp_path):
    with pytest.raises(BadInput, match="NAME-VERSION"):
        export(run, tmp_path / "noversion")
    with pytest.raises(BadInput, match="must not exist"):
        export(run, exported)
    with pytest.raises(BadInput, match="finished training run"):
        export(tmp_path, tmp_path / "a-1")


@pytest.mark.parametrize("text", ["{}", "[]", "{"])
def test_a_damaged_report_is_one_line(run, tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"report\.json is missing or damaged .*; train again"):
        export(tmp_path, tmp_path / "small-2")
