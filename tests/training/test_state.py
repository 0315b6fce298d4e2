from __future__ import annotations

import numpy as np
import pytest

from index.space.errors import ArtefactError
from training.state import RunState, is_better, load_state, save_state


def epoch(number: int, precision: float | None, loss: float) -> dict:
    return {"epoch": number, "validation_precision_at_5": precision, "validation_loss": loss}


class Optimizer:
    """As much of an optimizer as the state looks at."""

    def __init__(self, value: float) -> None:
        self.variables = [np.full(2, value)]


def record(state: RunState, value: float, done: dict, average: float | None = None) -> None:
    """An epoch that ends with weights of that value, measured as they are or as an average."""
    weights = [np.full(3, value)]
    measured = weights if average is None else [np.full(3, average)]
    state.record(weights, measured, Optimizer(value), done)


def test_precision_decides_and_loss_breaks_ties():
    assert is_better(epoch(1, 0.5, 9.0), epoch(2, 0.4, 0.1))
    assert is_better(epoch(1, 0.5, 0.9), epoch(2, 0.5, 1.0))
    assert not is_better(epoch(1, 0.5, 1.0), epoch(2, 0.5, 1.0))
    assert is_better(epoch(1, 0.1, 1.0), epoch(2, None, 1.0))


def test_a_phase_that_hurts_is_not_kept_and_one_that_helps_is(tmp_path):
    state = RunState()
    for number, best in ((1, 0.4), (2, 0.3), (3, 0.5)):
        record(state, number, epoch(1, best, 1.0))
        record(state, number + 0.5, epoch(2, best - 0.1, 1.0))
        assert state.best[0].tolist() == [number] * 3
        report = {"phase": number, "epochs": state.history, "best_epoch": state.best_epoch}
        state.end_phase(number, report)
        assert state.kept == {1: 1, 2: 1, 3: 3}[number]
    assert [report["kept"] for report in state.reports] == [False, False, True]


def test_what_is_saved_is_read_back(tmp_path):
    state = RunState()
    record(state, 1, epoch(1, 0.4, 1.0))
    save_state(tmp_path, state)
    assert load_state(tmp_path).best[0].tolist() == [1, 1, 1]
    record(state, 2, epoch(2, 0.3, 1.0))
    save_state(tmp_path, state)
    read = load_state(tmp_path)
    assert (read.epoch, read.best_epoch, len(read.history)) == (2, 1, 2)
    assert read.weights[0].tolist() == [2, 2, 2]
    assert read.optimizer[0].tolist() == [2, 2]
    assert read.best[0].tolist() == [1, 1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_the_average_is_kept_and_the_weights_are_gone_on_with(tmp_path):
    state = RunState()
    record(state, 1, epoch(1, 0.4, 1.0), average=0.5)
    save_state(tmp_path, state)
    read = load_state(tmp_path)
    assert (read.weights[0].tolist(), read.best[0].tolist()) == ([1, 1, 1], [0.5, 0.5, 0.5])


def test_no_file_is_a_start_and_a_cut_file_an_error(tmp_path):
    assert load_state(tmp_path) is None
    save_state(tmp_path, RunState())
    data = (tmp_path / "state.npz").read_bytes()
    (tmp_path / "state.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtefactError, match="damaged"):
        load_state(tmp_path)
