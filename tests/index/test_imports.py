"""Imports go app -> index <- training: serving and indexing never load TensorFlow or training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"tensorflow", "keras", "training", "torch", "jax", "sklearn"}
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for package in ("index", "app")
    for path in (ROOT / package).rglob("*.py")
)


def loaded_by(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after running code."""
    ask = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())  # what the code prints stands above


@pytest.mark.parametrize("package", ["index", "app"])
def test_no_module_loads_tensorflow_or_training(package: str) -> None:
    modules = [name for name in MODULES if name.split(".")[0] == package]
    assert modules
    loaded = loaded_by("\n".join(f"import {name}" for name in modules))
    assert not loaded & FORBIDDEN


def test_index_does_not_load_app() -> None:
    modules = [name for name in MODULES if name.startswith("index")]
    assert "app" not in loaded_by("\n".join(f"import {name}" for name in modules))


def test_what_training_needs_of_index_does_not_load_faiss_or_openvino() -> None:
    loaded = loaded_by("import index.check, index.collection, index.space.metrics")
    assert not loaded & {"faiss", "openvino"}


def test_the_command_loads_nothing_before_it_knows_what_to_do() -> None:
    loaded = loaded_by("import artkin")
    assert not loaded & (FORBIDDEN | {"faiss", "openvino", "fastapi", "PIL", "numpy"})


def test_a_whole_run_loads_no_tensorflow(
    collection: Path, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = ["index", str(collection), "--model", str(tiny_model), "--releases"]
    loaded = loaded_by(
        "import artkin\n"
        f"assert artkin.main({[*arguments, str(tmp_path / 'r')]!r}) == 0\n"
        f"assert artkin.main(['publish', '--releases', {str(tmp_path / 'r')!r}]) == 0\n"
        f"assert artkin.main(['evaluate', '--releases', {str(tmp_path / 'r')!r}]) == 0\n"
        f"assert artkin.main(['check', {str(collection)!r}]) == 0"
    )
    assert not loaded & (FORBIDDEN | {"pyvips"})


def test_the_service_does_not_load_libvips() -> None:
    assert "pyvips" not in loaded_by("import app.main, app.serve, app.decoding, app.serving")


def test_a_decoding_process_loads_no_web_framework() -> None:
    # Its start would take three times as long, beside the service's own.
    assert not loaded_by("import app.decoder_process") & {"fastapi", "openvino", "faiss"}


@pytest.mark.parametrize(
    "order",
    [
        ("tensorflow", "openvino", "faiss"),
        ("openvino", "faiss", "tensorflow"),
    ],
)
def test_the_libraries_bear_each_other_in_any_order(order: tuple[str, ...]) -> None:
    quiet = "sys.modules['openvino_telemetry'] = None\n"  # as the encoder does
    code = quiet + "import numpy as np\n" + "\n".join(f"import {name}" for name in order)
    code += (
        "\nindex = faiss.IndexFlatIP(8); index.add(np.eye(8, dtype='f4'))"
        "\nassert index.search(np.eye(8, dtype='f4'), 1)[1][:, 0].tolist() == list(range(8))"
        "\nassert float(tensorflow.reduce_sum(tensorflow.ones(4))) == 4"
        "\nassert openvino.Core().available_devices"
    )
    assert set(order) <= loaded_by(code)


def test_nothing_is_reported_to_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """openvino's telemetry makes an id below the home folder and sends it at import."""
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = loaded_by("import index.space.encoder")
    assert "openvino" in loaded
    assert not list(tmp_path.iterdir())
