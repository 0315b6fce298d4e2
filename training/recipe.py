"""What a training run does: the recipe that each preset file fills in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Schedule = Literal["constant", "cosine", "warmup_cosine"]


@dataclass(frozen=True)
class Phase:
    """One phase of fine-tuning.

    Args:
        epochs: exactly so many, unless EarlyStopping ends it before; 0 skips the phase.
        learning_rate: of Adam; the peak where the schedule changes it.
        unfreeze_from: where the trainable part of the backbone begins. None: all frozen. A block
            ("block7", "block6d"): from its first layer. An integer, as Python indexes layers:
            50 from the fiftieth on, -20 the last twenty, 0 all. A cut inside a block is moved to
            the block's start, so that no block is half trained.
        schedule: "constant"; "cosine", down to 0 at the last step; "warmup_cosine", up from 0
            during the first tenth of the steps and then down.
        patience: EarlyStopping ends the phase after so many epochs without a better one; None
            runs all epochs.
        average: momentum of the moving average of the weights that is measured and kept instead
            of the weights themselves (Polyak and Juditsky, SIAM J. Control Optim. 30 (1992)
            838-855); None: no average.
        scale: side of the pictures that a phase of the whole network trains on, as a share of the
            recipe's; a step costs as much as their area. What is measured and served keeps the
            recipe's size, as in Touvron et al., NeurIPS 2019, who train on smaller pictures than
            they test on.

    Raises:
        ValueError: a scale where layers are frozen: their output is cached at the recipe's size.
    """

    epochs: int
    learning_rate: float
    unfreeze_from: int | str | None
    schedule: Schedule = "constant"
    patience: int | None = None
    average: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        """See `scale`."""
        if self.scale != 1 and self.unfreeze_from != 0:
            raise ValueError("only a phase with unfreeze_from=0 may have a scale other than 1")


@dataclass(frozen=True)
class Margin:
    """CosFace (Wang et al., CVPR 2018): softmax over cosines, the right one less a margin.

    Args:
        margin: what the right class's cosine must win by.
        scale: of the cosines before the softmax.
    """

    margin: float
    scale: float


@dataclass(frozen=True)
class Work:
    """The part of the embedding that knows the work itself, whatever its style.

    It is taught the untrained backbone's features (`training.losses.work_targets`): the part of a
    changed view must be nearer to the unchanged picture's target than to any other training
    picture's. So what fine-tuning for style forgets is kept, and a crop or a mirror image is
    learnt to be the same work.

    Args:
        dimension: length of the part.
        weight: share of the score, 0 to 1; the style part has the rest.
        temperature: of the softmax over all training pictures.
        loss_weight: of its loss beside the style's.
    """

    dimension: int
    weight: float
    temperature: float
    loss_weight: float


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Args:
        name: the preset's.
        backbone: a key of `training.backbones.SIZES`.
        size: side of the input in pixels.
        dimension: length of the style part, which is all of the embedding where there is no work
            part.
        batch_norm: BatchNormalization between pooling and embedding.
        dropout: rate before the embedding, and before the hidden layer where there is one.
        views: ways to see each picture: 1 as it is; 2 mirrored, too; more: changed as well
            (`training/augment.py`). A phase that caches the frozen layers' output has so many,
            fixed; one that trains the whole network draws new ones each epoch.
        batch: pictures a step; fewer where the collection is small (`training/fit.py`).
        phases: in order; each starts from the best epoch so far.
        seed: of the order, the views, the dropout and the head's first weights.
        margin: of the style's loss; None is the plain softmax.
        work: the second part of the embedding, or None.
        pooled: blocks ("block4", ...) whose every depthwise activation is averaged over the
            picture, and whose output gives its mean and deviation: all of them side by side,
            instead of the last feature map.
        hidden: width of a GELU layer before the style part; 0 is none.
        heads: pieces of the style part, each with its share of the hidden layer and, where there
            is a margin, a classifier of its own: an ensemble in one pass.
    """

    name: str
    backbone: str
    size: int
    dimension: int
    batch_norm: bool
    dropout: float
    views: int
    batch: int
    phases: tuple[Phase, ...]
    seed: int = 0
    margin: Margin | None = None
    work: Work | None = None
    pooled: tuple[str, ...] = ()
    hidden: int = 0
    heads: int = 1

    def trained_size(self, phase: Phase) -> int:
        """Side in pixels of what a phase trains on, a multiple of 8 where it is scaled."""
        return self.size if phase.scale == 1 else max(8, round(self.size * phase.scale / 8) * 8)

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        document = asdict(self)
        document["phases"] = list(document["phases"])
        document["pooled"] = list(document["pooled"])
        return document
