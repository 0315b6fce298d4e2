"""Two parts in one embedding: the style, and the work itself.

    artkin train DATA

Numbers to expect, Lite0 on 4,974 paintings, test part, mean of three seeds, ten styles / seven of
WikiArt (`python -m benchmarks.paintings artkin DATA --seeds 3`); 200 works are sought with changed
pictures of them:

    phase  accuracy       P@5            silhouette, cosine, style part  same work
    1      0.605 / 0.539  0.521 / 0.443  0.143 / 0.020           0.952
    2      0.619 / 0.556  0.535 / 0.459  0.163 / 0.037           0.969
    3      0.645 / 0.592  0.570 / 0.503  0.207 / 0.093           0.973
"""

from __future__ import annotations

from training.backbones import size_of
from training.recipe import Margin, Phase, Recipe, Work


def recipe(backbone: str) -> Recipe:
    """Style from the middle blocks by a margin softmax, the work from the untrained features."""
    return Recipe(
        name="artkin",
        backbone=backbone,
        size=size_of(backbone),
        dimension=256,
        batch_norm=True,
        dropout=0.3,
        views=4,
        batch=64,
        margin=Margin(margin=0.9, scale=16.0),
        work=Work(dimension=256, weight=0.4, temperature=0.07, loss_weight=1.0),
        pooled=("block4", "block5", "block6"),
        hidden=1024,
        heads=4,
        phases=(
            Phase(3, 1e-3, None, "warmup_cosine"),
            Phase(2, 5e-4, "block4", "warmup_cosine", average=0.99),
            Phase(8, 5e-4, 0, "warmup_cosine", average=0.99, scale=0.7),
        ),
    )
