"""The first experiment's recipe, kept as the baseline to beat.

    artkin train DATA --preset seed                  EfficientNet-Lite0 at 224
    artkin train DATA --preset seed --backbone b2    EfficientNetB2 at 260, as it was run first

Numbers to expect, Lite0 on 4,974 paintings, test part, one run, ten styles / seven of WikiArt
(`python -m benchmarks.paintings seed DATA`):

    phase  accuracy       P@5            silhouette      silhouette, cosine
    -      -              0.389 / 0.337  -0.001 / -0.007  -0.005 / -0.013
    1      0.551 / 0.484  0.449 / 0.373  0.028 / -0.011  0.044 / -0.021
    2      0.568 / 0.497  0.488 / 0.407  0.038 / -0.011  0.059 / -0.021
    3      0.593 / 0.526  0.504 / 0.425  0.045 / -0.007  0.070 / -0.014
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
        views=1,
        batch=32,
        phases=(
            Phase(epochs=3, learning_rate=1e-3, unfreeze_from=None),
            Phase(epochs=3, learning_rate=1e-4, unfreeze_from=50),
            Phase(epochs=3, learning_rate=1e-5, unfreeze_from=0),
        ),
    )
