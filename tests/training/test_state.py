from __future__ import annotations

import numpy as np
import pytest

from index.space.errors import ArtefactError
from training.state import RunState, is_better, load_state, save_state


def epoch(number: int, precision: float | None, loss: float) -> dict:
    return {"epoch": number, "validation_precision_at_5": precision, "validation_loss": loss}


class Weights:
    """As much of a network and an optimizer as the state looks at."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.variables = [np.full(2, value)]

    def get_weights(self) -> list[np.ndarray]:
        return [np.full(3, self.value)]


def test_precision_decides_and_loss_breaks_ties():
    assert is_better(epoch(1, 0.5, 9.0), epoch(2, 0.4, 0.1))
    assert is_better(epoch(1, 0.5, 0.9), epoch(2, 0.5, 1.0))
    assert not is_better(epoch(1, 0.5, 1.0), epoch(2, 0.5, 1.0))
    assert is_better(epoch(1, 0.1, 1.0), epoch(2, None, 1.0))


def test_a_phase_that_hurts_is_not_kept_and_one_that_helps_is(tmp_path):
    state = RunState()
    for number, best in ((1, 0.4), (2, 0.3), (3, 0.5)):
        state.record(Weights(number), Weights(number), epoch(1, best, 1.0))
        state.record(Weights(number + 0.5), Weights(number), epoch(2, best - 0.1, 1.0))
        assert state.best[0].tolist() == [number] * 3
        report = {"phase": number, "epochs": state.history, "best_epoch": state.best_epoch}
        state.end_phase(number, report)
        assert state.kept == {1: 1, 2: 1, 3: 3}[number]
    assert [report["kept"] for report in state.reports] == [False, False, True]


def test_what_is_saved_is_read_back(tmp_path):
    state = RunState()
    state.record(Weights(1), Weights(1), epoch(1, 0.4, 1.0))
    save_state(tmp_path, state)
    assert load_state(tmp_path).best[0].tolist() == [1, 1, 1]
    state.record(Weights(2), Weights(2), epoch(2, 0.3, 1.0))
    save_state(tmp_path, state)
    read = load_state(tmp_path)
    assert (read.epoch, read.best_epoch, len(read.history)) == (2, 1, 2)
    assert read.weights[0].tolist() == [2, 2, 2]
    assert read.optimizer[0].tolist() == [2, 2]
    assert read.best[0].tolist() == [1, 1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_no_file_is_a_start_and_a_cut_file_an_error(tmp_path):
    assert load_state(tmp_path) is None
    save_state(tmp_path, RunState())
    data = (tmp_path / "state.npz").read_bytes()
    (tmp_path / "state.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtefactError, match="damaged"):
        load_state(tmp_path)
