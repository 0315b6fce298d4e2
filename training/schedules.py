"""Learning rate over the steps of one phase."""

from __future__ import annotations

from typing import Any

import keras

from training.recipe import Phase

WARMUP_SHARE = 0.1


def learning_rate(phase: Phase, steps_per_epoch: int) -> Any:
    """A number or a Keras schedule, as Adam takes it.

    Args:
        steps_per_epoch: batches in an epoch; the schedule spans all the phase's epochs.
    """
    steps = steps_per_epoch * phase.epochs
    if phase.schedule == "constant":
        return phase.learning_rate
    if phase.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(phase.learning_rate, steps)
    warmup = max(1, round(steps * WARMUP_SHARE))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=phase.learning_rate, warmup_steps=warmup
    )
