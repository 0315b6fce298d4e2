"""The first experiment's recipe, kept as the baseline to beat.

    artkin train DATA --preset seed                  EfficientNet-Lite0 at 224
    artkin train DATA --preset seed --backbone b2    EfficientNetB2 at 260, as it was run first

Numbers to expect: see the table in README.md, made by `python benchmarks/paintings.py seed`.
"""

from __future__ import annotations

from training.backbones import size_of
from training.recipe import Phase, Recipe


def recipe(backbone: str) -> Recipe:
    """128-d straight from pooling, three epochs a phase, constant rates."""
    return Recipe(
        name="seed",
        backbone=backbone,
        size=size_of(backbone),
        dimension=128,
        batch_norm=False,
        dropout=0.2,
        mirror=False,
        batch=32,
        phases=(
            Phase(epochs=3, learning_rate=1e-3, unfreeze_from=None),
            Phase(epochs=3, learning_rate=1e-4, unfreeze_from=50),
            Phase(epochs=3, learning_rate=1e-5, unfreeze_from=0),
        ),
    )
