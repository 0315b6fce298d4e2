from __future__ import annotations

import pytest

from training.recipe import Phase
from training.schedules import learning_rate


def rates(schedule: str, epochs: int = 5, steps: int = 20) -> list[float]:
    rate = learning_rate(Phase(epochs, 1e-3, None, schedule), steps)
    return [float(rate(step)) if callable(rate) else rate for step in range(epochs * steps + 1)]


def test_constant_stays():
    assert set(rates("constant")) == {1e-3}


def test_cosine_falls_to_zero_through_half():
    found = rates("cosine")
    assert found[0] == pytest.approx(1e-3)
    assert found[50] == pytest.approx(0.5e-3)
    assert found[100] == pytest.approx(0, abs=1e-9)


def test_warmup_rises_for_a_tenth_of_the_steps_and_falls():
    found = rates("warmup_cosine")
    assert found[0] == 0
    assert found[5] == pytest.approx(0.5e-3)
    assert found[10] == pytest.approx(1e-3)
    assert found[55] == pytest.approx(0.5e-3)
    assert found[100] == pytest.approx(0, abs=1e-9)
