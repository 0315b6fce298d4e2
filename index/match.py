"""Whether a release and a model belong together: vectors of two models cannot be compared."""

from __future__ import annotations

from index.release import Release, ReleaseManifest
from index.space.encoder import PRECISION
from index.space.errors import ArtefactError
from index.space.model import Model


def is_match(model: Model, made: ReleaseManifest) -> bool:
    """Whether a release has the vectors that a model gives on this machine."""
    return made.model_digest == model.digest and made.precision == PRECISION


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
            f"{model.digest[:12]}); name that model, or index the collection with this one"
        )
    if made.precision != PRECISION:
        raise ArtefactError(
            f"{release.folder} was embedded in {made.precision}, this artkin embeds in "
            f"{PRECISION}; index the collection again"
        )
