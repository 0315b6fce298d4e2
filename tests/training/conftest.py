"""A run small enough to repeat: 48 painted pictures at 64 pixels, two epochs a phase."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.short import SHORT, add_short_backbone
from training import fit
from training.presets import load_preset
from training.recipe import Phase, Recipe
from training.train import train

add_short_backbone()


@pytest.fixture(scope="session", autouse=True)
def _short_epochs() -> Iterator[None]:
    """Small collections are gone through once an epoch; that it is more often has its own test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS_AT_LEAST", 4)
        yield


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """The recommended recipe, shortened; its last phase is far too fast, to do harm."""
    return dataclasses.replace(
        load_preset("recommended", SHORT, 64),
        dimension=32,
        phases=(
            Phase(2, 1e-3, None, "cosine"),
            Phase(2, 2e-4, "block7", "warmup_cosine"),
            Phase(2, 0.3, 0),
        ),
    )


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory, painted_collection) -> Path:
    """48 pictures of three classes, not split."""
    return painted_collection(tmp_path_factory.mktemp("painted"), each=16)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, painted: Path, small_recipe: Recipe) -> Path:
    """The folder of a finished run of it. Don't change it."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(painted, small_recipe, folder)
    return folder
