"""Two parts in one embedding: the style, and the work itself.

    artkin train DATA

Numbers to expect, Lite0 on 4,974 paintings, test part, mean of two seeds, ten styles / seven of
WikiArt (`python -m benchmarks.paintings artkin DATA --seeds 2`); 200 works are sought with changed
pictures of them:

    phase  accuracy       P@5            silhouette, cosine, style part  same work
    1      0.604 / 0.539  0.519 / 0.440  0.143 / 0.020           0.952
    2      0.616 / 0.552  0.536 / 0.460  0.163 / 0.037           0.970
    3      0.646 / 0.593  0.568 / 0.500  0.210 / 0.096           0.971
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
