"""The advice drawn from the first experiment: 256 pixels, 256-d, BatchNormalization, longer phases.

    artkin train DATA --preset recommended

Numbers to expect: see the table in README.md, made by `python benchmarks/paintings.py recommended`.
"""

from __future__ import annotations

from training.recipe import Phase, Recipe


def recipe(backbone: str) -> Recipe:
    """BatchNormalization after pooling; the last 20 layers, then all; EarlyStopping throughout."""
    return Recipe(
        name="recommended",
        backbone=backbone,
        size=256,
        dimension=256,
        batch_norm=True,
        dropout=0.2,
        mirror=True,
        batch=32,
        phases=(
            Phase(10, 1e-3, None, "warmup_cosine", patience=3),
            Phase(10, 2e-4, -20, "warmup_cosine", patience=3),
            Phase(8, 1e-4, 0, "warmup_cosine", patience=3),
        ),
    )
