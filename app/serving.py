"""The release being served with the model that made it: one object, taken once a request.

Threads: OpenVINO has all cores for one picture at a time, FAISS one a search, and `gate.py`
limits how many requests decode and search at once.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.answers import Item, Neighbour, Neighbours, describe
from app.problems import Problem
from index.catalogue import Entry
from index.match import check_match
from index.release import Release, open_release
from index.space.encoder import Encoder
from index.space.model import Model, load_model
from index.space.preprocessing import UPLOAD_LIMITS, decode, to_pixels
from index.vectors import Floats


@dataclass(frozen=True)
class Serving:
    """A release and the encoder of its model; never changed, only replaced."""

    release: Release
    encoder: Encoder

    def search(self, picture: bytes, k: int) -> Neighbours:
        """The k works most like an uploaded picture.

        Raises:
            ImageRejected: the picture cannot be used.
        """
        spec = self.encoder.model.manifest.preprocessing
        pixels = to_pixels(decode(picture, UPLOAD_LIMITS), spec)
        return self._neighbours(self.encoder.encode(pixels[np.newaxis]), k)

    def similar(self, id_: str, k: int) -> Neighbours:
        """The k works most like a work of the collection, itself left out by its id.

        Raises:
            Problem: 404 `no-such-item`.
        """
        entry = self.entry(id_)
        query = self.release.vectors.get(np.asarray([entry.row], np.int64))
        return self._neighbours(query, k, without=entry)

    def item(self, id_: str) -> Item:
        """One work.

        Raises:
            Problem: 404 `no-such-item`.
        """
        return Item(**describe(self.entry(id_)), **self.versions())

    def thumbnail(self, id_: str) -> bytes:
        """A work's small picture, WebP.

        Raises:
            Problem: 404 `no-such-item`.
        """
        return self.release.thumbnail(self.entry(id_))

    def entry(self, id_: str) -> Entry:
        """A work by its id.

        Raises:
            Problem: 404 `no-such-item`.
        """
        entry = self.release.catalogue.by_id(id_)
        if entry is None:
            detail = f"no work has the id {id_[:128]!r} in release {self.release.id}"
            raise Problem(404, "no-such-item", detail)
        return entry

    def versions(self) -> dict[str, Any]:
        """The fields of `Versions`."""
        return {"index_version": self.release.id, "model_version": self.encoder.model.version}

    def _neighbours(self, query: Floats, k: int, without: Entry | None = None) -> Neighbours:
        scores, rows = self.release.vectors.search(query, k + (without is not None))
        entries = self.release.catalogue.by_rows(rows[0].tolist())
        found = [
            (entry, score)
            for entry, score in zip(entries, scores[0].tolist(), strict=True)
            if without is None or entry.id != without.id
        ]
        results = [
            Neighbour(rank=rank, score=round(score, 6), **describe(entry))
            for rank, (entry, score) in enumerate(found[:k], start=1)
        ]
        return Neighbours(results=results, **self.versions())


def load(model_folder: Path, release_folder: Path, before: Serving | None) -> Serving:
    """Open a release and the model that made it, verified and tried out.

    Args:
        before: what is served now; its encoder is kept if the model is the same.

    Raises:
        ArtefactError: either is damaged, or they do not belong together.
    """
    model = load_model(model_folder)
    release = open_release(release_folder)
    try:
        check_match(model, release)
        serving = Serving(release, _encoder(model, before))
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
