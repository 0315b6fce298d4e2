"""What a run leaves behind, and that an interrupted one ends like a straight one."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from index.space.errors import ArtefactError, ArtkinError, BadInput, Refused
from index.space.locking import exclusive
from index.space.model import load_model
from tests.training.short import SHORT
from training import fit
from training.backbones import block_of
from training.dataset import load_dataset
from training.export import export, load_served
from training.fit import Fit
from training.network import STYLE, backbone_layers, build_network, freeze, seeded_backbone
from training.phase_views import PhaseViews
from training.presets import load_preset
from training.recipe import Phase
from training.run_file import check_resumed
from training.state import load_state, save_state
from training.train import train

STEPS = 4  # an epoch of 30 works in batches of 8


def report_of(run: Path) -> dict:
    return json.loads((run / "report.json").read_text())


def weights_by_block(network: keras.Model) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for layer in backbone_layers(network):
        found[block_of(layer.name)] += layer.get_weights()
    return found


def changed_blocks(before: keras.Model, after: keras.Model) -> set[str]:
    old, new = weights_by_block(before), weights_by_block(after)
    return {
        block
        for block in old
        if any((a != b).any() for a, b in zip(old[block], new[block], strict=True))
    }


def test_each_phase_trains_its_blocks_and_no_other(run, small_recipe):
    start = build_network(small_recipe, seeded_backbone(small_recipe), classes=3)
    phases = [keras.models.load_model(run / f"efficientnet_phase{n}.keras") for n in (1, 2, 3)]
    assert changed_blocks(start, phases[0]) == set()
    assert changed_blocks(start, phases[1]) == {"block7a", "top"}
    assert changed_blocks(start, phases[2]) == set(weights_by_block(start)) - {"none"}
    assert (start.get_layer(STYLE).kernel != phases[0].get_layer(STYLE).kernel).numpy().any()


def test_batch_norm_statistics_of_the_backbone_never_move(run, small_recipe):
    start = build_network(small_recipe, seeded_backbone(small_recipe), classes=3)
    after = keras.models.load_model(run / "efficientnet_phase3.keras")
    for layer in backbone_layers(start):
        if isinstance(layer, keras.layers.BatchNormalization):
            for old, new in zip(
                layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(old, new)


def test_the_phase_that_hurts_is_measured_and_not_kept(run):
    report = report_of(run)
    assert [phase["phase"] for phase in report["phases"]] == [1, 2, 3]
    assert report["phases"][2]["kept"] is False
    assert report["kept_phase"] in (1, 2)
    best = [
        phase["epochs"][phase["best_epoch"] - 1]["validation_precision_at_5"]
        for phase in report["phases"]
    ]
    assert best[report["kept_phase"] - 1] == max(best)


def test_the_log_has_every_epoch_its_rate_and_its_steps(run, small_recipe):
    assert len(load_dataset(run).parts["train"]) == 30
    report = report_of(run)
    assert {"precision", "silhouette", "silhouette_cosine"} <= set(report["untrained"])
    for phase in report["phases"]:
        assert [epoch["epoch"] for epoch in phase["epochs"]] == [1, 2]
        assert [epoch["steps"] for epoch in phase["epochs"]] == [STEPS, 2 * STEPS]
        assert {"accuracy", "precision", "silhouette", "silhouette_cosine"} <= set(phase["test"])


def test_the_checkpoint_holds_the_best_epoch_that_was_measured(run, small_recipe):
    """The `.keras` file of phase 1 gives again, on test, what the report says of it."""
    network = keras.models.load_model(run / "efficientnet_phase1.keras")
    dataset = load_dataset(run)
    fit = Fit(network, seeded_backbone(small_recipe), dataset, small_recipe, run)
    logits = network.predict_on_batch(np.array(dataset.pixels[dataset.parts["test"]]))
    accuracy = (logits.argmax(axis=1) == dataset.labels[dataset.parts["test"]]).mean()
    assert accuracy == pytest.approx(report_of(run)["phases"][0]["test"]["accuracy"])
    assert fit.checkpoint(1).exists()


def interrupt(monkeypatch, steps, data, recipe, folder) -> None:
    """Start a run and press Ctrl-C after so many of the steps that it shows progress of."""
    left = iter(range(steps))

    def interrupted(items, total, what):
        for item in items:
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(fit, "track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, recipe, folder)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 2 * STEPS + 3])
def test_interrupted_and_resumed_is_straight(
    tmp_path, run, painted, small_recipe, steps, monkeypatch
):
    """Ctrl-C at a step of the first phase, and at one of the second."""
    folder = tmp_path / "run"
    interrupt(monkeypatch, steps, painted, small_recipe, folder)
    resumed = train(painted, small_recipe, folder, resume=True)
    straight = report_of(run)
    assert resumed["kept_phase"] == straight["kept_phase"]
    for ours, theirs in zip(resumed["phases"], straight["phases"], strict=True):
        for a, b in zip(ours["epochs"], theirs["epochs"], strict=True):
            assert (a["steps"], a["learning_rate"]) == (b["steps"], b["learning_rate"])
        if ours["phase"] < 3:  # the third diverges on purpose, and with it every rounding
            assert ours["epochs"][-1]["loss"] == pytest.approx(theirs["epochs"][-1]["loss"], 1e-3)


@pytest.mark.slow
def test_sigterm_keeps_whole_epochs_and_resume_ends_the_run(tmp_path, painted):
    folder = tmp_path / "run"
    program = "import sys, artkin, training.fit as fit; fit.STEPS_AT_LEAST = 4; "
    program += "from tests.training.short import add_short_backbone; add_short_backbone(); "
    program += "sys.exit(artkin.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "train", str(painted), "--preset", "seed"]
    command += ["--backbone", SHORT, "--run", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(r"phase 2, epoch 1/3: loss", line):
            process.send_signal(signal.SIGTERM)
            break
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    ended = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "phase 1, epoch" not in ended.stdout  # done before the stop
    assert len(report_of(folder)["phases"]) == 3


def test_a_folder_with_a_run_is_not_overwritten_nor_resumed_with_another_recipe(
    run, painted, small_recipe
):
    with pytest.raises(BadInput, match="go on with --resume"):
        train(painted, small_recipe, run)
    other = type(small_recipe)(**(small_recipe.__dict__ | {"dimension": 64}))
    with pytest.raises(BadInput, match="dimension 32 -> 64"):
        train(painted, other, run, resume=True)
    first, second, third = small_recipe.phases
    second = dataclasses.replace(second, learning_rate=1e-5)
    other = dataclasses.replace(small_recipe, phases=(first, second, third))
    with pytest.raises(BadInput, match=r"different: phase 2 learning_rate 0\.0002 -> 1e-05$"):
        train(painted, other, run, resume=True)


@pytest.mark.parametrize("phases", [[], None, [1, 2, 3], [{"epochs": 1}]])
def test_a_run_file_with_other_phases_than_a_recipe_has_is_refused(tmp_path, small_recipe, phases):
    document = small_recipe.as_dict() | {"phases": phases}
    (tmp_path / "run.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"different: phases$"):
        check_resumed(tmp_path, small_recipe, None)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_what_was_best_is_kept(tmp_path, painted, small_recipe):
    folder = tmp_path / "run"
    first, second, _ = small_recipe.phases
    wild = dataclasses.replace(second, learning_rate=1e30, schedule="constant")
    recipe = dataclasses.replace(small_recipe, phases=(first, wild, wild))
    said = r"phase 2, epoch 1/2, step \d+ gave nan; .*of phase 1, is kept.*presets/recommended.py"
    with pytest.raises(ArtkinError, match=said):
        train(painted, recipe, folder)
    kept = keras.models.load_model(folder / "efficientnet_phase1.keras")
    assert all(np.isfinite(array).all() for array in kept.get_weights())
    assert not (folder / "efficientnet_phase2.keras").exists()
    assert not list(folder.glob("prefix_phase*"))
    report = report_of(folder)
    assert [phase["phase"] for phase in report["phases"]] == [report["kept_phase"]] == [1]
    (found,) = [found for found in report["findings"] if found["rule"] == "diverged"]
    assert "phase 2, epoch 1/2" in found["text"]
    export(folder, tmp_path / "models" / "kept-1")
    assert load_model(tmp_path / "models" / "kept-1").manifest.dimension == recipe.dimension
    with pytest.raises(ArtkinError, match=said):  # at once: it would end in the same
        train(painted, recipe, folder, resume=True)
    assert report_of(folder)["phases"] == report["phases"]


@pytest.mark.slow
def test_a_phase_whose_loss_is_no_number_any_more_ends_with_its_best_epoch(
    tmp_path, painted, small_recipe, monkeypatch
):
    batches = Fit._batches

    def breaking(self, current, epoch):
        for inputs, answers in batches(self, current, epoch):
            broken = (current.number, epoch) == (2, 2)
            yield (np.full_like(inputs, np.nan) if broken else inputs), answers

    monkeypatch.setattr(Fit, "_batches", breaking)
    with pytest.raises(ArtkinError, match=r"phase 2, epoch 2/2, step 1 gave nan"):
        train(painted, small_recipe, tmp_path / "run")
    first, second = report_of(tmp_path / "run")["phases"]
    assert (first["phase"], second["phase"]) == (1, 2)
    assert [epoch["epoch"] for epoch in second["epochs"]] == [1]
    assert np.isfinite(second["test"]["accuracy"])


@pytest.mark.slow
def test_weights_broken_by_an_epoch_s_last_step_are_told_too(
    tmp_path, painted, small_recipe, monkeypatch
):
    """Its loss was taken before the weights broke."""
    batches = Fit._batches

    def breaking(self, current, epoch):
        yield from batches(self, current, epoch)
        self.network.set_weights([array * np.nan for array in self.network.get_weights()])

    monkeypatch.setattr(Fit, "_batches", breaking)
    with pytest.raises(ArtkinError, match=r"phase 1, epoch 1/2, step \d+ gave nan.*no epoch had"):
        train(painted, small_recipe, tmp_path / "run")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_a_library_makes_an_error_of_ends_as_any(tmp_path, number, code):
    """OpenVINO raises a RuntimeError in the place of what came up through it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    program = (
        "import os, signal, sys, time, artkin, training.train\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wrapping(*_, **__):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        time.sleep(60)\n"
        "    except BaseException as error:\n"
        "        raise RuntimeError(str(error)) from None\n"
        "training.train.train = wrapping\n"
        "sys.exit(artkin.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, "train", "art", "--run", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert "--resume goes on" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory, painted, small_recipe) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    # The untrained features, then two epochs of the first phase.
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 1 + 2 * STEPS, painted, small_recipe, folder)
    assert (folder / "efficientnet_phase1.keras").exists()
    return folder


@pytest.fixture
def stopped(tmp_path, stopped_once) -> Path:
    """The folder of a run that was interrupted in its second phase."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


@pytest.mark.slow
def test_a_damaged_file_of_a_run_is_named_in_one_line(stopped, painted, small_recipe):
    for name in ("run.json", "works.json", "pixels.u8", "efficientnet_phase1.keras", "state.npz"):
        path = stopped / name
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b""):
            path.write_bytes(damaged)
            with pytest.raises(ArtefactError, match=rf"{name} is missing or damaged") as caught:
                train(painted, small_recipe, stopped, resume=True)
            assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    (stopped / "efficientnet_phase1.keras").unlink()
    with pytest.raises(ArtefactError, match=r"phase1\.keras is missing or damaged"):
        train(painted, small_recipe, stopped, resume=True)


@pytest.mark.slow
def test_resumed_a_cut_cache_is_made_again_and_the_seconds_of_all_sessions_count(
    stopped, painted, small_recipe, run
):
    (cache,) = stopped.glob("prefix_phase2*")
    cache.write_bytes(cache.read_bytes()[:1000])
    state = load_state(stopped)
    assert state.seconds >= sum(epoch["seconds"] for epoch in state.reports[0]["epochs"]) > 0
    state.seconds = 5000.0
    save_state(stopped, state)
    resumed = train(painted, small_recipe, stopped, resume=True)
    ours, theirs = resumed["phases"][1], report_of(run)["phases"][1]
    assert ours["epochs"][-1]["loss"] == pytest.approx(theirs["epochs"][-1]["loss"], 1e-3)
    assert not list(stopped.glob(".partial*"))
    assert 5000 < resumed["seconds"] < 6000


def test_one_process_at_a_time_trains_in_a_folder(tmp_path, painted, small_recipe, run):
    with exclusive(run / ".lock", "the test"), pytest.raises(Refused, match="one at a time"):
        train(painted, small_recipe, run, resume=True)
    with exclusive(tmp_path / ".lock", "the test"), pytest.raises(Refused, match="one at a time"):
        train(painted, small_recipe, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_run_is_resumed_with_its_own_collection(tmp_path, painted, small_recipe, run):
    other = Path(shutil.copytree(painted, tmp_path / "art"))
    assert train(other, small_recipe, run, resume=True)["kept_phase"]  # moved, but the same
    gone = sorted(other.rglob("*.png"))[0]
    gone.unlink()
    with pytest.raises(BadInput, match=rf"1 pictures have come, .* the first .*{gone.name}"):
        train(other, small_recipe, run, resume=True)
    with pytest.raises(BadInput, match="must be a folder; received"):
        train(tmp_path / "nowhere", small_recipe, run, resume=True)


def test_a_run_is_resumed_with_its_own_classes(tmp_path, painted, small_recipe, run):
    other = Path(shutil.copytree(painted, tmp_path / "art"))
    (other / "cubism").rename(other / "op art")
    with pytest.raises(BadInput, match="come or gone: cubism, op art; start another run"):
        train(other, small_recipe, run, resume=True)
    (other / "op art").rename(other / "cubism")
    name = sorted(other.rglob("cubism/*.png"))[0].relative_to(other)
    (other / "manifest.csv").write_text(f"path,class\n{name},baroque\n")
    with pytest.raises(BadInput, match=rf"got another class, the first {name}"):
        train(other, small_recipe, run, resume=True)


@pytest.fixture
def told_to_be_a_gpu(monkeypatch):
    """What is different on a GPU, on a processor: mixed precision and TensorFlow's inference."""
    policy = keras.config.dtype_policy()
    for module in ("inference", "fit", "train"):
        monkeypatch.setattr(f"training.{module}.on_gpu", lambda: True)
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.slow
def test_on_a_gpu_a_run_in_mixed_precision_goes_the_whole_way(tmp_path, painted, told_to_be_a_gpu):
    """The last blocks: a processor takes minutes for what is before them in bfloat16."""
    phases = (Phase(0, 1e-3, None), Phase(1, 1e-4, "block6"), Phase(0, 1e-4, 0))
    recipe = dataclasses.replace(load_preset("artkin", SHORT), phases=phases, views=1)
    report = train(painted, recipe, tmp_path / "run")
    network = keras.models.load_model(tmp_path / "run" / "efficientnet_phase2.keras")
    assert "bfloat16" in {layer.compute_dtype for layer in backbone_layers(network)}
    assert [len(phase.get("epochs", [])) for phase in report["phases"]] == [0, 1, 0]
    with np.load(tmp_path / "run" / "phase2_test.npz") as arrays:
        norms = np.linalg.norm(arrays["embeddings"], axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    keras.config.set_dtype_policy("float32")  # as in export, another process
    served = load_served(tmp_path / "run", report)
    assert {layer.compute_dtype for layer in served.layers} == {"float32"}


def test_on_a_gpu_the_batch_is_halved_until_it_fits(
    tmp_path, painted, small_recipe, told_to_be_a_gpu, monkeypatch, capsys
):
    """A processor told to be a GPU whose memory holds 2 pictures: batches of 8 become 2."""
    whole = keras.Model.train_on_batch
    sizes = []

    def limited(model, x, y):
        sizes.append(len(x))
        if len(x) > 2:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return whole(model, x, y)

    monkeypatch.setattr(keras.Model, "train_on_batch", limited)
    nothing = Phase(0, 1e-3, 0)
    recipe = dataclasses.replace(small_recipe, phases=(Phase(1, 1e-3, None), nothing, nothing))
    report = train(painted, recipe, tmp_path / "run")
    assert sizes[:3] == [8, 4, 2]
    assert max(sizes[3:]) == 2
    assert report["phases"][0]["epochs"][0]["steps"] == 30 // 2
    assert "2 pictures a step: 8 do not fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("starts", "cached"),
    [
        ((None, "block7", 0), {1, 2}),
        ((None, "block7", "block6"), {1, 2, 3}),
        (("block6", "block7", 0), {1}),  # trains layers that are frozen afterwards
    ],
)
def test_frozen_layers_run_once_for_all_phases_that_find_them_as_they_are(
    run, small_recipe, tmp_path, starts, cached
):
    dataset = load_dataset(run)
    phases = tuple(Phase(1, 1e-3, start) for start in starts)
    recipe = dataclasses.replace(small_recipe, phases=phases)
    network = build_network(recipe, seeded_backbone(recipe), len(dataset.classes))
    views = PhaseViews(network, dataset, recipe, tmp_path)
    views.of(freeze(network, starts[0]), 1)
    assert {path.name for path in tmp_path.glob("prefix*")} == {
        f"prefix_phase{number}.f16" for number in cached
    }
    views.forget_all()
    assert not list(tmp_path.iterdir())


def test_the_head_s_batch_norm_starts_from_the_pictures_statistics(
    run, small_recipe, tmp_path, monkeypatch
):
    """Before any step the training works' pooled numbers leave it with mean 0 and deviation 1."""
    dataset = load_dataset(run)
    backbone = seeded_backbone(small_recipe)
    network = build_network(small_recipe, backbone, len(dataset.classes))
    nothing = Phase(0, 1e-3, 0)
    recipe = dataclasses.replace(small_recipe, phases=(Phase(1, 0.0, None), nothing, nothing))
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *_: [0.0, 0.0])
    for name in ("pixels.u8", "works.json"):
        shutil.copy(run / name, tmp_path / name)
    Fit(network, backbone, dataset, recipe, tmp_path).run()
    pixels = np.array(dataset.pixels[dataset.parts["train"]])
    outputs = [network.get_layer(name).output for name in ("pool", "pool_bn")]
    pooled, normal = keras.Model(network.input, outputs).predict(pixels, verbose=0)
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.15)
    alive = pooled.std(axis=0) > 0.1  # the layer's epsilon is 0.001
    assert alive.sum() > 500
    np.testing.assert_allclose(normal.std(axis=0)[alive], 1, atol=0.2)


def test_an_epoch_s_loss_is_the_mean_of_its_steps(tmp_path, painted, small_recipe, monkeypatch):
    """And of a small collection it has as many as 32, or nearly: nine times 30 works by eights."""
    monkeypatch.setattr(fit, "STEPS_AT_LEAST", 32)
    losses = iter([4.0, 1.0] * 17)
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *_: [next(losses), 0.0])
    nothing = Phase(0, 1e-3, 0)
    recipe = dataclasses.replace(small_recipe, phases=(Phase(1, 1e-3, None), nothing, nothing))
    report = train(painted, recipe, tmp_path / "run")
    assert report["phases"][0]["epochs"][0]["loss"] == 2.5
    assert next(losses, None) is None


def test_a_phase_of_everything_may_train_on_smaller_pictures_and_is_measured_on_whole_ones(
    tmp_path, painted, small_recipe, monkeypatch
):
    train_on, predict_on = keras.Model.train_on_batch, keras.Model.predict_on_batch
    trained, measured = set(), set()

    def noted(model, x, y):
        trained.add(x.shape[1:])
        return train_on(model, x, y)

    def seen(model, x):
        measured.add(x.shape[1:])
        return predict_on(model, x)

    monkeypatch.setattr(keras.Model, "train_on_batch", noted)
    monkeypatch.setattr(keras.Model, "predict_on_batch", seen)
    nothing = Phase(0, 1e-3, 0)
    recipe = dataclasses.replace(
        small_recipe, phases=(nothing, nothing, Phase(1, 1e-3, 0, scale=0.5))
    )
    train(painted, recipe, tmp_path / "run")
    assert trained == {(32, 32, 3)}
    assert measured >= {(64, 64, 3)}
    assert (32, 32, 3) not in measured
    start = build_network(recipe, seeded_backbone(recipe), classes=3)
    saved = keras.models.load_model(tmp_path / "run" / "efficientnet_phase3.keras")
    assert changed_blocks(start, saved) == set(weights_by_block(start)) - {"none"}


def test_only_a_phase_of_everything_has_a_scale():
    with pytest.raises(ValueError, match="unfreeze_from=0"):
        Phase(1, 1e-3, "block7", scale=0.5)
