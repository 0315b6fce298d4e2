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
        """Copies first, then the works alike."""
        left_out = [] if without is None else [without.row]
        copies = [row for row in self._copies(query, k + len(left_out)) if row not in left_out][:k]
        wanted = k + len(left_out) + len(copies)
        _, near = self.release.vectors.search(query, wanted)
        alike = [row for row in near[0].tolist() if row not in (*left_out, *copies)]
        rows = [*copies, *alike][:k]
        scores = self.release.vectors.get(np.asarray(rows, np.int64)) @ query[0]
        results = [
            Neighbour(
                rank=rank, score=round(score, 6), copy_of_query=row in copies, **describe(entry)
            )
            for rank, (row, score, entry) in enumerate(
                zip(rows, scores.tolist(), self.release.catalogue.by_rows(rows), strict=True), 1
            )
        ]
        return Neighbours(results=results, **self.versions())

    def _copies(self, query: Floats, k: int) -> list[int]:
        """Rows of the works of which the query is another picture, nearest first, at most k.

        Only the part that knows the work asks: the query's other numbers are zero, so that the
        index multiplies that part with its like and nothing else.
        """
        manifest = self.encoder.model.manifest
        rule = manifest.copies
        if rule is None:
            return []
        columns = manifest.columns(rule.part)
        norm = float(np.linalg.norm(query[0, columns]))
        asking = np.zeros_like(query)
        asking[0, columns] = query[0, columns] / norm
        scores, rows = self.release.vectors.search(asking, k)
        # Works' parts have the norm that the query's has: the square root of the part's weight.
        is_copy = scores[0] / norm >= rule.cosine
        found: list[int] = rows[0][is_copy].tolist()
        return found


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
