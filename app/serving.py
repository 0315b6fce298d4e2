"""The release being served with the model that made it: one object, taken once a request.

Threads: OpenVINO has all cores for one picture at a time, FAISS one a search, decoding is done in
other processes (`decoding.py`), and `gate.py` limits how many requests do any of it at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from app import metrics
from app.answers import (
    Collection,
    Embedding,
    FacetCounts,
    Facets,
    FacetValue,
    Item,
    Items,
    Map,
    MapPlace,
    Neighbours,
    Work,
    describe,
)
from app.decoding import Decoder
from app.live import LiveRelease
from app.options import (
    Boxed,
    Examples,
    FacetOptions,
    MapOptions,
    PictureOptions,
    SearchOptions,
    Words,
)
from app.problems import Problem
from app.ranking import Vector, combined
from app.searching import Question, answer
from index.catalogue import Entry
from index.filters import parse_filter
from index.release import Release
from index.space.encoder import Encoder
from index.space.errors import BadInput, ImageRejected
from index.vectors import Floats

Answered: TypeAlias = Neighbours | ImageRejected


class Serving:
    """A release and the encoder of its model; replaced whole, and changed only by `catch_up`.

    Args:
        decoder: of uploaded pictures.
    """

    def __init__(self, release: Release, encoder: Encoder, decoder: Decoder) -> None:
        self.release = release
        self.encoder = encoder
        self.decoder = decoder
        self._live = LiveRelease(release, encoder)

    def catch_up(self, changes: Path) -> None:
        """Apply the changes of a folder that came since the last call; a work that cannot be used
        is logged."""
        self._live.catch_up(changes)

    def try_picture(self, picture: bytes) -> None:
        """See whether a picture can be added.

        Raises:
            ImageRejected: it cannot.
        """
        self.decoder.pixels(picture, self.encoder.model.manifest.preprocessing)

    def search(self, picture: bytes, options: PictureOptions) -> Neighbours:
        """The works most like an uploaded picture.

        Raises:
            ImageRejected: the picture cannot be used.
            BadInput: the filter or the balance cannot.
        """
        vector = self._embed(picture, options)
        is_part = options.box is not None and options.exclude_same_artist
        whole = self._embed(picture) if is_part else None
        found = self._answer(Question(vector, [vector], whole=whole), options)
        if options.offset == 0 and not options.filter:
            metrics.note_nearest(found)
        return found

    def similar(self, id_: str, options: SearchOptions) -> Neighbours:
        """The works most like a work of the collection, itself left out by its id.

        Raises:
            Problem: 404 `no-such-item`.
            BadInput: the filter or the balance cannot be used.
        """
        with self._live.lock.read_lock():
            entry = self.entry(id_)
            vector = self._vectors([entry])[0]
            return self._answer(Question(vector, [vector], [entry]), options)

    def search_examples(
        self, positive: list[bytes], negative: list[bytes], options: Examples
    ) -> Neighbours:
        """The works most like some examples and unlike others, themselves left out.

        Raises:
            ImageRejected: a picture cannot be used.
            Problem: 404 `no-such-item`; 422 `no-example`, nothing to be like.
            BadInput: the filter or the balance cannot be used.
        """
        if not options.positive_id and not positive:
            detail = (
                "a search by examples needs one to be like: a file in the field `positive`, or "
                "?positive_id=ID; received none"
            )
            raise Problem(422, "no-example", detail)
        wanted, unwanted = [[self._embed(one) for one in some] for some in (positive, negative)]
        with self._live.lock.read_lock():
            like = [self.entry(id_) for id_ in options.positive_id]
            unlike = [self.entry(id_) for id_ in options.negative_id]
            wanted += list(self._vectors(like))
            unwanted += list(self._vectors(unlike))
            query = combined(wanted, unwanted, self.encoder.model.manifest)
            is_one = len(wanted) == 1 and not unwanted
            return self._answer(Question(query, wanted, like, unlike, is_one), options)

    def search_batch(self, pictures: list[bytes], options: PictureOptions) -> list[Answered]:
        """What `search` says of each of several pictures, or why it cannot be used.

        Raises:
            BadInput: the filter or the balance cannot be used.
        """

        def one(picture: bytes) -> Answered:
            try:
                return self.search(picture, options)
            except ImageRejected as error:
                return error

        return [one(picture) for picture in pictures]

    def embed(self, picture: bytes, options: Boxed) -> Embedding:
        """A picture's vector.

        Raises:
            ImageRejected: the picture cannot be used.
        """
        vector = self._embed(picture, options).tolist()
        parts = self.encoder.model.manifest.parts
        return Embedding(embedding=vector, parts=parts, **self.versions())

    def items(self, options: Words) -> Items:
        """Works by words and filter.

        Raises:
            BadInput: the filter cannot be used.
        """
        total, entries = self.release.catalogue.find(
            options.q, parse_filter(options.filter), options.limit, options.offset
        )
        works = [Work(**describe(entry)) for entry in entries]
        return Items(total=total, results=works, **self.versions())

    def facets(self, options: FacetOptions) -> Facets:
        """What works can be told apart by.

        Raises:
            BadInput: the filter cannot be used.
        """
        found = self.release.catalogue.facets(parse_filter(options.filter), options.limit)
        facets = [
            FacetCounts(
                field=facet.field,
                distinct=facet.values,
                values=[FacetValue(value=value, works=works) for value, works in facet.counts],
            )
            for facet in found
        ]
        return Facets(facets=facets, **self.versions())

    def map(self, options: MapOptions) -> Map:
        """Where works stand on the map.

        Raises:
            BadInput: the filter cannot be used.
        """
        total, found = self.release.catalogue.map(
            parse_filter(options.filter), options.limit, options.offset
        )
        places = [MapPlace(**place._asdict()) for place in found]
        return Map(total=total, places=places, **self.versions())

    def collection(self) -> Collection:
        """What is served."""
        release, model = self.release.manifest, self.encoder.model.manifest
        return Collection(
            works=len(self.release.vectors),
            created=release.created,
            dimension=model.dimension,
            parts=model.parts,
            style=model.parts[0].weight if len(model.parts) > 1 else None,
            confidence=release.confidence,
            copies=model.copies,
            **self.versions(),
        )

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
        with self._live.lock.read_lock():
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
        changed = f"+{self._live.changed}" if self._live.changed else ""
        return {
            "index_version": f"{self.release.id}{changed}",
            "model_version": self.encoder.model.version,
        }

    def _embed(self, picture: bytes, options: Boxed | None = None) -> Vector:
        box = options.corners() if options else None
        with metrics.stage("decode"):
            pixels = self.decoder.pixels(picture, self.encoder.model.manifest.preprocessing, box)
        with metrics.stage("embed"):
            vector: Vector = self.encoder.encode(pixels[np.newaxis])[0]
        return vector

    def _vectors(self, entries: list[Entry]) -> Floats:
        return self.release.vectors.get(np.asarray([entry.row for entry in entries], np.int64))

    def _answer(self, question: Question, options: SearchOptions) -> Neighbours:
        model = self.encoder.model
        if options.style is not None and len(model.manifest.parts) < 2:
            raise BadInput(
                f"style shifts the balance of two parts; the model {model.version} has one; "
                f"received style={options.style:g}; leave it out"
            )
        with self._live.lock.read_lock(), metrics.stage("search"):
            found = answer(self.release, model.manifest, question, options)
        return Neighbours(**found, **self.versions())
