"""Whether a release and a model belong together: vectors of two models cannot be compared."""

from __future__ import annotations

from pathlib import Path

from index.release import Release, ReleaseManifest
from index.space.encoder import PRECISION
from index.space.errors import ArtefactError
from index.space.model import Model, load_model


def is_match(model: Model, made: ReleaseManifest) -> bool:
    """Whether a release has the vectors that a model gives on this machine."""
    return made.model_digest == model.digest and made.precision == PRECISION


def model_for(given: Path, made: ReleaseManifest) -> Path:
    """The folder of the model that made a release: the one given, or one beside it, by its name.

    So a service follows to a release of another model: both are taken together, or neither. A
    folder beside of that name which is damaged or another model is named too: loading it says so.
    """
    beside = given.absolute().parent / made.model  # also of "."
    return beside if _digest(given) != made.model_digest and beside.is_dir() else given


def _digest(folder: Path) -> str | None:
    try:
        return load_model(folder, verify_files=False).digest
    except ArtefactError:
        return None


def check_match(model: Model, release: Release) -> None:
    """Check that a release was made by a model, as this machine would run it.

    Raises:
        ArtefactError: by another, or in another precision.
    """
    made = release.manifest
    if made.model_digest != model.digest:
        raise ArtefactError(
            f"{release.folder} was made by another model ({made.model}, digest "
            f"{made.model_digest[:12]}) than {model.folder} ({model.version}, digest "
            f"{model.digest[:12]}); put that model at {model.folder.parent / made.model}, "
            "name it, or index the collection with this one"
        )
    if made.precision != PRECISION:
        raise ArtefactError(
            f"{release.folder} was embedded in {made.precision}, this artkin embeds in "
            f"{PRECISION}; index the collection again"
        )
