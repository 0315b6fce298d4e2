"""What each phase is trained from: pixels, or what its frozen layers make of them, on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.dataset import Dataset
from training.network import Cut, cut_at
from training.prefix_cache import PixelViews, Views, cache_prefix
from training.recipe import Recipe


class PhaseViews:
    """Views of a run's pictures, one kind a phase.

    Args:
        network: its frozen layers as they are when a phase begins.
        folder: the run's; caches lie there until they are forgotten.
    """

    def __init__(
        self, network: keras.Model, dataset: Dataset, recipe: Recipe, folder: Path
    ) -> None:
        self._network, self._dataset = network, dataset
        self._recipe, self._folder = recipe, folder

    def of(self, cut: Cut, number: int) -> Views:
        """Of a phase, from 1, that trains what is behind the cut.

        Raises:
            BadInput: no room for a cache.
        """
        if not cut.frozen:
            size = self._recipe.trained_size(self._recipe.phases[number - 1])
            return PixelViews(self._dataset.pixels, self._recipe.views, size)
        frozen = {number: cut.frozen} | self._frozen_later(cut, number)
        prefixes = {
            self._cache(phase): keras.Model(self._network.input, tensors)
            for phase, tensors in frozen.items()
        }
        varied = np.sort(self._dataset.parts["train"])
        return cache_prefix(prefixes, self._dataset.pixels, self._recipe.views, varied)

    def forget(self, number: int) -> None:
        """The phase has ended."""
        self._cache(number).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """The run has ended, perhaps before a phase that had its cache."""
        for number in range(1, len(self._recipe.phases) + 1):
            self.forget(number)

    def _frozen_later(self, cut: Cut, number: int) -> dict[int, list[Any]]:
        """Of the next phases, what their frozen layers hand over: those that begin no later than
        this one are the same already, and on the way."""
        found = {}
        for later, phase in enumerate(self._recipe.phases[number:], number + 1):
            at = cut_at(self._network, phase.unfreeze_from)
            if not at.frozen or at.first > cut.first:
                break
            if phase.epochs:
                found[later] = at.frozen
            cut = at
        return found

    def _cache(self, number: int) -> Path:
        return self._folder / f"prefix_phase{number}.f16"
