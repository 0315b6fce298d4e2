"""What the tests share: a clean environment, painted pictures, a small real model, a release."""

from __future__ import annotations

import colorsys
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from index.publish import publish
from index.space.artefact import new_folder, sha256_of, write_manifest
from index.space.model import CANARIES, SAVED_MODEL, SEEN_WORKS, UNTRAINED, ModelManifest, Part
from index.space.preprocessing import Preprocessing
from tests.releases import make_release

# A painter's habits: the shape drawn, and the hue that the colours lie around.
STYLES = {"cubism": ("rectangle", 0.08), "ukiyo_e": ("ellipse", 0.55), "baroque": ("line", 0.95)}
SIDE = 64
DIMENSION = 16


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ARTKIN_")]:
        monkeypatch.delenv(name)


def paint(style: str, seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A small colourful picture, never symmetric, the same for the same arguments."""
    shape, hue = STYLES[style]
    rng = np.random.default_rng([seed, *style.encode()])
    width, height = size
    ramp = np.linspace(0, 60, width)[None, :] + np.linspace(0, 30, height)[:, None]
    ground = np.stack([ramp + 40, ramp * 0.7 + 50, 150 - ramp], axis=-1)
    image = Image.fromarray((ground + rng.normal(0, 4, ground.shape)).clip(0, 255).astype("uint8"))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        colour = colorsys.hsv_to_rgb((hue + rng.normal(0, 0.05)) % 1, rng.uniform(0.4, 1), 0.9)
        x, y = rng.integers(0, width * 3 // 4), rng.integers(0, height * 3 // 4)
        box = [int(x), int(y), int(x + rng.integers(6, 30)), int(y + rng.integers(6, 30))]
        getattr(draw, shape)(box, fill=tuple(int(255 * value) for value in colour))
    return image


Painter = Callable[..., Path]


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Puts a disk of its own, of a size like "16k", under a folder; again, resizes it."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        command = ["mount", "-t", "tmpfs", "-o"]
        if folder in mounted:
            subprocess.run(
                [*command, f"remount,size={size}", "artkin-test", str(folder)], check=True
            )
            return
        folder.mkdir()
        made = [*command, f"size={size}", "artkin-test", str(folder)]
        if subprocess.run(made, check=False, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def painted_collection() -> Painter:
    """A factory: `painted_collection(root, each=4, styles=..., seed=0)` fills class folders.

    Pictures are `<root>/<style>/<style>-<number>.png`, or .jpg for odd numbers.
    """

    def fill(root: Path, each: int = 4, styles: Any = tuple(STYLES), seed: int = 0) -> Path:
        for style in styles:
            (root / style).mkdir(parents=True, exist_ok=True)
            for number in range(each):
                ending = "jpg" if number % 2 else "png"
                path = root / style / f"{style}-{number}.{ending}"
                paint(style, seed * 1000 + number).save(path, quality=92)
        return root

    return fill


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, painted_collection: Painter) -> Path:
    """24 pictures: train/ and test/ of three classes, four in each. Don't change it."""
    root = tmp_path_factory.mktemp("collection")
    painted_collection(root / "train", seed=1)
    painted_collection(root / "test", seed=2)
    return root


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Path:
    """A model folder: 64 x 64 in, 16 numbers out, random weights; saw `collection/train`."""
    return _make_model(tmp_path_factory.mktemp("models") / "tiny-1", collection, DIMENSION, 8)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Path:
    """Another, tiny-2: 24 numbers out, and nothing of what it started from."""
    return _make_model(tmp_path_factory.mktemp("other") / "tiny-2", collection, 24)


def _make_model(target: Path, collection: Path, dimension: int, untrained: int = 0) -> Path:
    name, _, version = target.name.partition("-")
    pixels = np.stack(
        [np.asarray(paint(style, 9000).resize((SIDE, SIDE))) for style in sorted(STYLES)]
    )
    manifest = ModelManifest(
        files={},
        name=name,
        version=version,
        backbone="tiny",
        preset="none",
        dimension=dimension,
        parts=[Part(name="style", width=dimension, weight=1.0)],
        preprocessing=Preprocessing(height=SIDE, width=SIDE),
        classes=sorted(STYLES),
        created=datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        report={"precision": None},
    )
    seen = sorted(sha256_of(path) for path in (collection / "train").rglob("*.*"))
    with new_folder(target) as folder:
        embeddings = _save_network(folder / SAVED_MODEL, pixels, dimension)
        if untrained:
            _save_network(folder / UNTRAINED, pixels, untrained)
        np.savez(folder / CANARIES, pixels=pixels, embeddings=embeddings)
        (folder / SEEN_WORKS).write_text("\n".join(seen) + "\n", encoding="ascii")
        write_manifest(folder, manifest)
    return target


def _save_network(path: Path, pixels: np.ndarray, dimension: int) -> np.ndarray:
    """Export a seeded convolutional network; return what TensorFlow makes of `pixels`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(dimension)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(inputs, keras.layers.UnitNormalization()(x))

    served = tf.Module()
    served.network = network
    signature = [tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="pixels")]
    served.serve = tf.function(
        lambda pixels: {"embedding": network(tf.cast(pixels, tf.float32), training=False)},
        input_signature=signature,
    )
    tf.saved_model.save(served, str(path), signatures={"serving_default": served.serve})
    return np.asarray(served.serve(tf.constant(pixels))["embedding"])


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, collection: Path, tiny_model: Path) -> Path:
    """A releases folder with one published release of `collection`. Don't change it."""
    releases = tmp_path_factory.mktemp("published") / "releases"
    publish(releases, make_release(collection, tiny_model, releases))
    return releases
