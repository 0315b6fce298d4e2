"""A published release and its model, opened, verified and tried out: ready to be served."""

from __future__ import annotations

import weakref
from pathlib import Path

from app.decoding import Decoder
from app.serving import Serving
from index.match import check_match
from index.release import open_release
from index.space.encoder import Encoder
from index.space.model import Model, load_model


def load(
    model_folder: Path,
    release_folder: Path,
    before: Serving | None,
    decoder: Decoder,
    changes: Path,
) -> Serving:
    """Open a release and the model that made it, verified and tried out.

    Args:
        before: what is served now; its encoder is kept if the model is the same.
        decoder: of uploaded pictures.
        changes: folder of those to be applied to it.

    Raises:
        ArtefactError: either is damaged, or they do not belong together.
    """
    model = load_model(model_folder)
    release = open_release(release_folder)
    try:
        check_match(model, release)
        serving = Serving(release, _encoder(model, before), decoder)
        serving.catch_up(changes)
    except BaseException:
        release.close()
        raise
    # Its files are closed when the last request that took it is done.
    weakref.finalize(serving, release.close)
    return serving


def _encoder(model: Model, before: Serving | None) -> Encoder:
    if before is not None and before.encoder.model.digest == model.digest:
        return before.encoder
    encoder = Encoder(model, batch=1)
    encoder.check_canaries()
    return encoder
