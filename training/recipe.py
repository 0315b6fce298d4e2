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
    """

    epochs: int
    learning_rate: float
    unfreeze_from: int | str | None
    schedule: Schedule = "constant"
    patience: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Args:
        name: the preset's.
        backbone: a key of `training.backbones.SIZES`.
        size: side of the input in pixels.
        dimension: length of the embedding.
        batch_norm: BatchNormalization between pooling and embedding.
        dropout: rate before the embedding.
        mirror: each epoch shows every picture as it is or mirrored, at random.
        batch: pictures a step.
        phases: in order; each starts from the best epoch so far.
        seed: of the split, the order, the mirroring, the dropout and the head's first weights.
    """

    name: str
    backbone: str
    size: int
    dimension: int
    batch_norm: bool
    dropout: float
    mirror: bool
    batch: int
    phases: tuple[Phase, Phase, Phase]
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        document = asdict(self)
        document["phases"] = list(document["phases"])
        return document
