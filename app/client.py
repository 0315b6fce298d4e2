"""A typed client of the service, and `artkin query`: one picture, a table of what is like it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from rich.table import Table
from rich.text import Text

from app.answers import Batch, Collection, Embedding, Facets, Item, Items, Map, Neighbours, Ready
from app.options import (
    Boxed,
    Examples,
    FacetOptions,
    MapOptions,
    NoOptions,
    PictureOptions,
    SearchOptions,
    Words,
)
from app.upload import FIELD
from index.progress import console
from index.space.errors import ArtkinError, BadInput

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 30.0
A = TypeVar("A", bound=BaseModel)


class Client:
    """Calls a running service; use it as a context manager.

    Args:
        url: where the service is, with scheme.
        key: where the service asks for one.

    Raises:
        BadInput: (by every method) nothing answers there, or the service refuses the request.
        ArtkinError: (by every method) the service failed, or is not an artkin service.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     picture = Path("portrait.jpg").read_bytes()
        ...     wanted = PictureOptions(k=3, filter="date:1850..1900")
        ...     for work in client.search(picture, wanted).results:
        ...         print(work.score, work.title)
    """

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None) -> None:
        self._url = url
        # Bytes: a key need not be ASCII.
        headers = {b"Authorization": f"Bearer {key}".encode()} if key else {}
        try:
            self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, headers=headers)
        except (httpx.InvalidURL, ValueError) as error:
            raise BadInput(f"--url must be like {DEFAULT_URL}; received {url!r}") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def search(self, picture: bytes, options: PictureOptions | None = None) -> Neighbours:
        """The works most like a picture, the bytes of a JPEG, PNG or WebP file."""
        # The name of a file is nobody's business; the service reads none.
        files = [(FIELD, ("image", picture))]
        return self._ask(Neighbours, "POST", "/v1/search", options, files=files)

    def search_batch(
        self, pictures: Sequence[bytes], options: PictureOptions | None = None
    ) -> Batch:
        """The same for up to 32 pictures; one that cannot be used has its problem for an answer."""
        files = [(FIELD, ("image", picture)) for picture in pictures]
        return self._ask(Batch, "POST", "/v1/search/batch", options, files=files)

    def search_examples(
        self,
        positive: Sequence[bytes] = (),
        negative: Sequence[bytes] = (),
        options: Examples | None = None,
    ) -> Neighbours:
        """The works most like some examples and unlike others, pictures or, by their ids in the
        options, works of the collection."""
        files = [
            (name, ("image", picture))
            for name, pictures in (("positive", positive), ("negative", negative))
            for picture in pictures
        ]
        return self._ask(Neighbours, "POST", "/v1/search/examples", options, files=files)

    def embed(self, picture: bytes, options: Boxed | None = None) -> Embedding:
        """A picture's vector."""
        files = [(FIELD, ("image", picture))]
        return self._ask(Embedding, "POST", "/v1/embed", options, files=files)

    def similar(self, id_: str, options: SearchOptions | None = None) -> Neighbours:
        """The works most like a work of the collection."""
        return self._ask(Neighbours, "GET", f"/v1/items/{quote(id_, safe='')}/similar", options)

    def items(self, options: Words | None = None) -> Items:
        """Works by words and filter, a page of them."""
        return self._ask(Items, "GET", "/v1/items", options)

    def thumbnail(self, id_: str) -> bytes:
        """A work's small picture, WebP."""
        return self._request("GET", f"/v1/items/{quote(id_, safe='')}/thumbnail").content

    def ready(self) -> Ready:
        """What is served; raises with the reason where nothing can be."""
        return self._ask(Ready, "GET", "/readyz")

    def facets(self, options: FacetOptions | None = None) -> Facets:
        """What works can be told apart by."""
        return self._ask(Facets, "GET", "/v1/facets", options)

    def map(self, options: MapOptions | None = None) -> Map:
        """Where works stand on a map of their styles."""
        return self._ask(Map, "GET", "/v1/map", options)

    def collection(self) -> Collection:
        """What is served, and how far its answers can be trusted."""
        return self._ask(Collection, "GET", "/v1/collection")

    def item(self, id_: str) -> Item:
        """One work of the collection."""
        return self._ask(Item, "GET", f"/v1/items/{quote(id_, safe='')}")

    def _ask(
        self,
        kind: type[A],
        method: str,
        path: str,
        options: NoOptions | None = None,
        **content: Any,
    ) -> A:
        answer = self._request(method, path, options, **content)
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise ArtkinError(f"{self._url} is not an artkin service of this version") from error

    def _request(
        self, method: str, path: str, options: NoOptions | None = None, **content: Any
    ) -> httpx.Response:
        asked = options.model_dump(mode="json", exclude_defaults=True) if options else {}
        try:
            answer = self._http.request(method, path, params=asked, **content)
        except httpx.UnsupportedProtocol as error:
            raise BadInput(f"--url must be like {DEFAULT_URL}; received {self._url!r}") from error
        except httpx.TransportError as error:
            raise BadInput(
                f"no answer from {self._url} ({error or type(error).__name__}); start the "
                "service with `artkin serve`, or name another with --url"
            ) from error
        if not answer.is_success:
            raise _refusal(answer)
        return answer


def _refusal(answer: httpx.Response) -> ArtkinError:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"{answer.request.url} is not an artkin service"
    kind = ArtkinError if answer.is_server_error else BadInput
    return kind(f"the service answers {answer.status_code}: {detail}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `artkin query`."""
    parser.add_argument("image", type=Path, help="a JPEG, PNG or WebP file")
    parser.add_argument("--url", default=DEFAULT_URL, help="default: %(default)s")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="holds a key, where the service asks for one"
    )
    parser.add_argument("-k", type=int, help="neighbours, 1 to 100; default: 5")
    parser.add_argument("--offset", type=int, help="neighbours passed over, to page")
    parser.add_argument(
        "--filter", metavar="TERMS", help="""e.g. 'class:baroque date:1600..1650 -artist:"A. N."'"""
    )
    parser.add_argument("--style", type=float, help="1 compares style alone, 0 the work alone")
    parser.add_argument("--diversity", type=float, help="0 to 1: works unlike each other")
    parser.add_argument("--box", metavar="L,T,R,B", help="a region of the picture, as shares")
    parser.add_argument("--exclude-same-artist", action="store_true", default=None)
    parser.add_argument("--json", action="store_true", help="print the service's answer")


def main(options: argparse.Namespace) -> None:
    """Ask, and print what is like the picture."""
    picture = options.image.read_bytes()
    key = options.key_file.read_text(encoding="utf-8").split() if options.key_file else [None]
    with Client(options.url, key[0] if key else None) as client:
        answer = client.search(picture, _asked(options))
    if options.json:
        print(answer.model_dump_json(indent=2))
        return
    console.print(_table(answer))


def _asked(options: argparse.Namespace) -> PictureOptions:
    names = PictureOptions.model_fields
    given = {k: v for k, v in vars(options).items() if k in names and v is not None}
    try:
        return PictureOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        said = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{flag}: {said}; received {first['input']!r}") from error


def _table(answer: Neighbours) -> Table:
    caption = f"{answer.total} works, release {answer.index_version}, model {answer.model_version}"
    if answer.nothing_alike:
        caption = f"nothing in the collection is like this picture; {caption}"
    table = Table(caption=caption)
    trusted = any(work.confidence is not None for work in answer.results)
    numbers = ("rank", "score", "trust") if trusted else ("rank", "score")
    for name in (*numbers, "title", "artist", "date", "class", "id"):
        table.add_column(name, overflow="fold", no_wrap=name in numbers)
    for work in answer.results:
        marks = " (same work)" if work.copy_of_query else ""
        marks += " (black and white)" if work.greyscale else ""
        trust = [f"{work.confidence or 0:.0%}"] if trusted else []
        cells = (work.title + marks, work.artist, work.date, work.label, work.id)
        # Text, not str: brackets in a title are not markup.
        texts = [Text(cell or "-") for cell in cells]
        table.add_row(str(work.rank), f"{work.score:.3f}", *trust, *texts)
    return table
