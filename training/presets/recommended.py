"""The advice drawn from the first experiment: 256 pixels, 256-d, BatchNormalization, longer phases.

    artkin train DATA --preset recommended

Numbers to expect, Lite0 on 4,974 paintings, test part, one run, ten styles / seven of WikiArt
(`python -m benchmarks.paintings recommended DATA`):

    phase  accuracy       P@5            silhouette      silhouette, cosine
    -      -              0.396 / 0.335  -0.001 / -0.008  -0.004 / -0.016
    1      0.562 / 0.490  0.447 / 0.371  0.015 / -0.002  0.026 / -0.004
    2      0.609 / 0.543  0.486 / 0.410  0.019 / 0.000   0.033 / -0.001
    3      0.620 / 0.553  0.511 / 0.436  0.022 / 0.000   0.040 / 0.000
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
        views=2,
        batch=32,
        phases=(
            Phase(10, 1e-3, None, "warmup_cosine", patience=3),
            Phase(10, 2e-4, -20, "warmup_cosine", patience=3),
            Phase(8, 1e-4, 0, "warmup_cosine", patience=3),
        ),
    )
