"""Where a training run is: saved whole after each epoch, so that a kill loses one epoch at most.

One file, `state.npz`, replaced atomically: the weights and the optimizer's variables of the last
epoch, the weights of the phase's best epoch, and the counters as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from index.space.artefact import new_file
from index.space.errors import ArtefactError

FILE = "state.npz"
_COUNTERS = ("epoch", "best_epoch", "kept", "history", "reports", "seconds", "diverged")


@dataclass
class RunState:
    """Args:
    epoch: epochs done in the current phase.
    best_epoch: the best of them, 0 before the first.
    kept: the phase whose best epoch is the best of all, 0 before the first ended.
    history: one record an epoch of the current phase.
    reports: one an ended phase.
    seconds: that the run has taken so far, in all its sessions.
    diverged: where the loss was no number any more, which ended the run; "" where it was one.
    weights, optimizer, best: arrays in the order of Keras' `weights` and `variables`.
    """

    epoch: int = 0
    best_epoch: int = 0
    kept: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    diverged: str = ""
    weights: list[NDArray[Any]] = field(default_factory=list)
    optimizer: list[NDArray[Any]] = field(default_factory=list)
    best: list[NDArray[Any]] = field(default_factory=list)

    def record(
        self,
        weights: list[NDArray[Any]],
        measured: list[NDArray[Any]],
        optimizer: Any,
        epoch: dict[str, Any],
    ) -> None:
        """Take over an epoch that has just ended.

        Args:
            weights: to go on with.
            measured: what the epoch's numbers are of: the same, or their moving average.
        """
        self.history.append(epoch)
        self.epoch = epoch["epoch"]
        self.weights = weights
        self.optimizer = [np.asarray(variable) for variable in optimizer.variables]
        if self.best_epoch == 0 or is_better(epoch, self.history[self.best_epoch - 1]):
            self.best_epoch, self.best = self.epoch, measured

    def restore_optimizer(self, optimizer: Any) -> None:
        """Put the last epoch's numbers back into an optimizer built for the same phase."""
        for variable, value in zip(optimizer.variables, self.optimizer, strict=True):
            variable.assign(value)

    def end_phase(self, number: int, report: dict[str, Any]) -> None:
        """Close a phase: it is kept where its best epoch is at least as good as the kept one's."""
        kept = next((r for r in self.reports if r["phase"] == self.kept), None)
        best = self.history[self.best_epoch - 1]
        report["kept"] = kept is None or not is_better(kept["epochs"][kept["best_epoch"] - 1], best)
        if report["kept"]:
            self.kept = number
            for earlier in self.reports:
                earlier["kept"] = False
        self.reports.append(report)
        self.epoch = self.best_epoch = 0
        self.history, self.weights, self.optimizer, self.best = [], [], [], []


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around the reading of one of a run's files.

    Raises:
        ArtefactError: the file is not there, or is not what training writes.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtefactError(
            f"{path} is missing or damaged ({reason}); train again, in another --run folder"
        ) from error


def is_better(epoch: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether an epoch beats another: validation P@5, then the lower validation loss."""
    return _rank(epoch) > _rank(other)


def _rank(epoch: dict[str, Any]) -> tuple[float, float]:
    return epoch["validation_precision_at_5"] or 0.0, -epoch["validation_loss"]


def save_state(folder: Path, state: RunState) -> None:
    """Replace the folder's state file."""
    counters = json.dumps({name: getattr(state, name) for name in _COUNTERS})
    arrays: dict[str, Any] = {"counters": np.array(counters)}
    arrays |= {f"w{i:04}": array for i, array in enumerate(state.weights)}
    arrays |= {f"o{i:04}": array for i, array in enumerate(state.optimizer)}
    if state.best is not state.weights:
        arrays |= {f"b{i:04}": array for i, array in enumerate(state.best)}
    with new_file(folder / FILE) as path:
        np.savez(path, **arrays)


def load_state(folder: Path) -> RunState | None:
    """The folder's state, or None where no epoch has ended yet.

    Raises:
        ArtefactError: the file is damaged.
    """
    if not (folder / FILE).exists():
        return None
    with reading(folder / FILE), np.load(folder / FILE, allow_pickle=False) as arrays:
        state = RunState(**json.loads(str(arrays["counters"])))
        for kind, name in (("w", "weights"), ("o", "optimizer"), ("b", "best")):
            found = sorted(key for key in arrays.files if key[0] == kind and key != "counters")
            setattr(state, name, [arrays[key] for key in found])
    if not state.best:
        state.best = state.weights
    return state
