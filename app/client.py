"""A typed client of the service, and `artkin query`: one picture, a table of what is like it."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from rich.table import Table
from rich.text import Text

from app.answers import Item, Neighbours
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

    Raises:
        BadInput: (by every method) nothing answers there, or the service refuses the request.
        ArtkinError: (by every method) the service failed, or is not an artkin service.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     for work in client.search(Path("portrait.jpg").read_bytes(), k=3).results:
        ...         print(work.score, work.title)
    """

    def __init__(self, url: str = DEFAULT_URL) -> None:
        self._url = url
        try:
            self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS)
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

    def search(self, picture: bytes, k: int = 5) -> Neighbours:
        """The k works most like a picture, the bytes of a JPEG, PNG or WebP file."""
        # The name of a file is nobody's business; the service reads none.
        files = {FIELD: ("image", picture)}
        return self._ask(Neighbours, "POST", "/v1/search", params={"k": k}, files=files)

    def similar(self, id_: str, k: int = 5) -> Neighbours:
        """The k works most like a work of the collection."""
        path = f"/v1/items/{quote(id_, safe='')}/similar"
        return self._ask(Neighbours, "GET", path, params={"k": k})

    def item(self, id_: str) -> Item:
        """One work of the collection."""
        return self._ask(Item, "GET", f"/v1/items/{quote(id_, safe='')}")

    def _ask(self, kind: type[A], method: str, path: str, **options: Any) -> A:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.UnsupportedProtocol as error:
            raise BadInput(f"--url must be like {DEFAULT_URL}; received {self._url!r}") from error
        except httpx.TransportError as error:
            raise BadInput(
                f"no answer from {self._url} ({error or type(error).__name__}); start the "
                "service with `artkin serve`, or name another with --url"
            ) from error
        if answer.is_success:
            try:
                return kind.model_validate_json(answer.content)
            except ValidationError as error:
                raise ArtkinError(
                    f"{self._url} is not an artkin service of this version"
                ) from error
        raise _refusal(answer)


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
    parser.add_argument("-k", type=int, default=5, help="neighbours, 1 to 100; default: 5")
    parser.add_argument("--json", action="store_true", help="print the service's answer")


def main(options: argparse.Namespace) -> None:
    """Ask, and print what is like the picture."""
    with Client(options.url) as client:
        answer = client.search(options.image.read_bytes(), options.k)
    if options.json:
        print(answer.model_dump_json(indent=2))
        return
    console.print(_table(answer))


def _table(answer: Neighbours) -> Table:
    table = Table(caption=f"release {answer.index_version}, model {answer.model_version}")
    for name in ("rank", "score", "title", "artist", "date", "class", "id"):
        table.add_column(name, overflow="fold", no_wrap=name in ("rank", "score"))
    for work in answer.results:
        marks = " (same work)" if work.copy_of_query else ""
        marks += " (black and white)" if work.greyscale else ""
        cells = (work.title + marks, work.artist, work.date, work.label, work.id)
        # Text, not str: brackets in a title are not markup.
        texts = [Text(cell or "-") for cell in cells]
        table.add_row(str(work.rank), f"{work.score:.3f}", *texts)
    return table
