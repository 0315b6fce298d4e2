"""The SavedModel run by OpenVINO: TensorFlow's numbers, from any number of threads."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.space.artefact import write_manifest
from index.space.encoder import Encoder
from index.space.errors import ArtefactError, BadInput
from index.space.model import CANARIES, SAVED_MODEL, Model, load_model

SIDE = 64


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return load_model(tiny_model)


@pytest.fixture(scope="module")
def encoder(model: Model) -> Encoder:
    return Encoder(model, batch=1)


def pictures(count: int) -> np.ndarray:
    noise = np.random.default_rng(8).integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)
    sizes = [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in noise]
    return np.stack([np.asarray(one) for one in sizes])


def test_it_gives_tensorflows_numbers(model: Model, encoder: Encoder) -> None:
    import tensorflow as tf

    pixels = pictures(20)
    loaded = tf.saved_model.load(str(model.folder / SAVED_MODEL))
    expected = loaded.signatures["serving_default"](pixels=tf.constant(pixels))["embedding"]
    assert np.abs(encoder.encode(pixels) - np.asarray(expected)).max() < 1e-5


def test_different_pictures_get_different_vectors(encoder: Encoder) -> None:
    embeddings = encoder.encode(pictures(20))
    cosine = embeddings @ embeddings.T
    assert cosine[~np.eye(20, dtype=bool)].max() < 0.99999
    assert np.allclose(np.diag(cosine), 1, atol=1e-5)


def test_the_canaries_embed_as_in_training(encoder: Encoder) -> None:
    encoder.check_canaries()


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_batches_give_the_vectors_of_single_pictures(
    model: Model, encoder: Encoder, batch: int
) -> None:
    pixels = pictures(33)
    singles = np.concatenate([encoder.encode(one[None]) for one in pixels])
    assert np.abs(Encoder(model, batch=batch).encode(pixels) - singles).max() < 1e-6


def test_ninety_calls_from_nine_threads_equal_serial_ones(encoder: Encoder) -> None:
    pixels = pictures(90)
    serial = [encoder.encode(one[None]) for one in pixels]
    with ThreadPoolExecutor(9) as pool:
        concurrent = list(pool.map(lambda one: encoder.encode(one[None]), pixels))
    assert np.array_equal(np.concatenate(concurrent), np.concatenate(serial))


def test_an_answer_does_not_change_when_the_next_is_computed(encoder: Encoder) -> None:
    first, second = pictures(2)
    answer = encoder.encode(first[None])
    kept = answer.copy()
    encoder.encode(second[None])
    assert np.array_equal(answer, kept)


def test_no_pictures_give_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, 16)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, SIDE, SIDE + 1, 3), np.uint8),
        np.zeros((SIDE, SIDE, 3), np.uint8),
        np.zeros((1, SIDE, SIDE, 4), np.uint8),
        np.zeros((1, SIDE, SIDE, 3), np.float32),
    ],
)
def test_other_shapes_and_types_are_refused(encoder: Encoder, pixels: np.ndarray) -> None:
    with pytest.raises(BadInput, match=r"pixels must be uint8 \(n, 64, 64, 3\); received"):
        encoder.encode(pixels)


def test_another_space_is_refused(model: Model, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model.folder, tmp_path / "model"))
    pixels, embeddings = model.canaries()
    np.savez(folder / CANARIES, pixels=pixels, embeddings=embeddings[::-1])
    write_manifest(folder, model.manifest)
    with pytest.raises(ArtefactError, match="canary"):
        Encoder(load_model(folder), batch=1).check_canaries()


def test_what_is_no_saved_model_is_said_in_one_line(model: Model, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model.folder, tmp_path / "model"))
    (folder / SAVED_MODEL / "saved_model.pb").write_bytes(b"nonsense")
    write_manifest(folder, model.manifest)
    with pytest.raises(ArtefactError, match="OpenVINO cannot run it") as caught:
        Encoder(load_model(folder), batch=1)
    assert "\n" not in str(caught.value)


def test_a_moved_read_only_model_runs(model: Model, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model.folder, tmp_path / "50% of #1"))
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    Encoder(load_model(folder), batch=1).check_canaries()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
