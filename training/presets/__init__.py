"""Recipes by name, one a file; each file's docstring has its command and the numbers to expect."""

from __future__ import annotations

import importlib
from dataclasses import replace

from index.space.errors import BadInput
from training.recipe import Recipe

DEFAULT = "artkin"
PRESETS = (DEFAULT, "recommended", "seed")


def load_preset(
    name: str, backbone: str | None = None, size: int | None = None, seed: int = 0
) -> Recipe:
    """The recipe of a preset, with the backbone, input size and seed asked for.

    Raises:
        BadInput: no such preset, or a size outside 32 to 1024, a seed outside 0 to 2^32 - 1.
    """
    if name not in PRESETS:
        raise BadInput(f"the preset must be one of {', '.join(PRESETS)}; received {name!r}")
    module = importlib.import_module(f"training.presets.{name}")
    recipe: Recipe = module.recipe(backbone or "lite0")
    if size is not None and not 32 <= size <= 1024:
        raise BadInput(f"--size must be from 32 to 1024 pixels; received {size}")
    if not 0 <= seed < 2**32:
        raise BadInput(f"--seed must be from 0 to {2**32 - 1}; received {seed}")
    return replace(recipe, size=size or recipe.size, seed=seed)
