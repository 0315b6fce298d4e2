"""The embedding model as files: `saved_model/`, `untrained/`, `canaries.npz`, `seen_works.txt`,
`manifest.json`.

uint8 pixels (n, height, width, 3) in, unit-norm float32 (n, dimension) out, scaling inside.
`untrained/` takes the same pixels and gives what it started from, the features of ImageNet, for
`artkin evaluate` to compare with.
`artkin export` writes it (`training/export.py`); everything else only reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from index.space import preprocessing
from index.space.artefact import Manifest, read_manifest
from index.space.errors import ArtefactError
from index.space.preprocessing import Preprocessing

SAVED_MODEL = "saved_model"
UNTRAINED = "untrained"
CANARIES = "canaries.npz"
SEEN_WORKS = "seen_works.txt"
# Names of a SavedModel's one input and one output; the same in every export.
INPUT = "pixels"
OUTPUT = "embedding"


class Part(BaseModel):
    """A slice of the embedding, unit norm on its own before the weight is applied."""

    model_config = ConfigDict(extra="forbid")

    name: str
    width: int
    weight: float


def columns_of(parts: Sequence[Part]) -> dict[str, slice]:
    """Where each part is in the embedding, by its name."""
    ends = accumulate(part.width for part in parts)
    return {part.name: slice(end - part.width, end) for part, end in zip(parts, ends, strict=True)}


class CopyRule(BaseModel):
    """When a picture is of the same work, and how often that is wrong.

    Measured on changed pictures (`index/perturbations.py`) of test works among all test works;
    the rates of each half of them by the cosine that the other half would choose.

    Args:
        part: of the embedding, whose cosine decides.
        cosine: a copy has at least so much.
        missed: share of the changed pictures whose own work was below it.
        missed_by_change: the same of each kind of change; empty in models of before.
        false_alarms: share of them for which another work was not.
        asked: changed pictures.
        among: works; a collection of more gives more chances to be wrong.
    """

    model_config = ConfigDict(extra="forbid")

    part: str
    cosine: float
    missed: float
    missed_by_change: dict[str, float] = {}
    false_alarms: float
    asked: int
    among: int


class ModelManifest(Manifest):
    """What a model says of itself.

    Args:
        name, version: the folder is called `<name>-<version>`.
        backbone: a name of `training/backbones.py`.
        preset: the recipe it was trained with.
        dimension: length of the embedding.
        parts: the slices of the embedding, in order; their widths sum to `dimension`.
        preprocessing: how a picture becomes the model's pixels.
        classes: the labels it was trained on, in the order of the classifier's outputs.
        created: UTC, ISO 8601.
        copies: None where no part of the embedding tells a work from others of its style.
        report: the test metrics measured when it was exported.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = 1
    name: str
    version: str
    backbone: str
    preset: str
    dimension: int
    metric: str = "cosine"
    parts: list[Part]
    preprocessing: Preprocessing
    classes: list[str]
    created: str
    copies: CopyRule | None = None
    report: dict[str, float | None]

    def columns(self, part: str) -> slice:
        """Where a part is in the embedding.

        Raises:
            KeyError: there is none of that name.
        """
        return columns_of(self.parts)[part]


@dataclass(frozen=True)
class Model:
    """A verified model folder."""

    folder: Path
    manifest: ModelManifest

    @property
    def version(self) -> str:
        """`<name>-<version>`, as answers carry it."""
        return f"{self.manifest.name}-{self.manifest.version}"

    @property
    def digest(self) -> str:
        """Identifies the space: equal digests give equal vectors for equal pictures."""
        parts = [*sorted(self.manifest.files.items()), self.manifest.preprocessing]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def canaries(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Pictures, uint8 (n, height, width, 3), and the embeddings training gave them, (n, d)."""
        with np.load(self.folder / CANARIES, allow_pickle=False) as arrays:
            return arrays["pixels"], arrays["embeddings"]

    def seen_works(self) -> frozenset[str]:
        """SHA-256 of every file that training or the choice of the best epoch looked at."""
        return frozenset((self.folder / SEEN_WORKS).read_text(encoding="ascii").split())


def load_model(folder: Path, verify_files: bool = True) -> Model:
    """Open a model folder, every digest checked.

    Args:
        verify_files: not to be left out for a model that is to be run.

    Raises:
        ArtefactError: not a model, another format or preprocessing, or a changed file.
    """
    manifest = read_manifest(
        folder, ModelManifest, "model", "artkin export RUN --to MODEL", verify_files
    )
    if manifest.preprocessing.version != preprocessing.VERSION:
        raise ArtefactError(
            f"{folder} was trained on pixels of preprocessing version "
            f"{manifest.preprocessing.version}, this artkin makes version {preprocessing.VERSION}; "
            "train the model again"
        )
    return Model(folder, manifest)
