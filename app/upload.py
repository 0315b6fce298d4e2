"""The one picture of a request, in memory: multipart form or raw body.

Starlette's form parser writes files over 1 MiB to the disk, takes the last of two files with the
same name, and does not miss a final boundary. Its own parser, python-multipart, is used here
directly; a part's file name is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from app.problems import Problem

FIELD = "image"
# What OpenAPI says of such a request.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            },
            **{
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in ("image/jpeg", "image/png", "image/webp")
            },
        },
    }
}


async def read_picture(request: Request) -> bytes:
    """The bytes of the uploaded picture.

    Raises:
        Problem: 415 `unsupported-media-type`, 400 `multipart-malformed`, 413 `body-too-large`.
    """
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return _only_picture(await request.body(), options)
    if kind.startswith(b"image/"):
        return await request.body()
    raise Problem(
        415,
        "unsupported-media-type",
        f"Content-Type must be multipart/form-data with a file field {FIELD!r}, or image/*; "
        f"received {content_type[:100]!r}",
    )


def _only_picture(body: bytes, options: Mapping[bytes, bytes]) -> bytes:
    if b"boundary" not in options:
        raise _malformed("its Content-Type has no boundary")
    form = _Form()
    try:
        MultipartParser(options[b"boundary"], form.callbacks()).write(body)
    except FormParserError as error:
        raise _malformed(str(error)) from error
    if not form.complete:
        raise _malformed("it has no part, or ends before its final boundary")
    return bytes(form.picture)


def _malformed(why: str) -> Problem:
    return Problem(
        400,
        "multipart-malformed",
        f"the form must hold exactly one file, in the field {FIELD!r}, and nothing else: {why}",
    )


class _Form:
    """Collects the one part a form may have; anything else is refused as soon as it shows."""

    def __init__(self) -> None:
        self.picture = bytearray()
        self.complete = False
        self._parts = 0
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def callbacks(self) -> Any:
        """What `MultipartParser` calls while it reads."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check,
            "on_part_data": lambda data, start, end: self.picture.extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise _malformed("received a second part; search options go into the URL, as ?k=5")

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _check(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            raise _malformed(f"received a field {name[:50]!r}")
        if b"filename" not in options:
            raise _malformed(f"the field {FIELD!r} holds text; send a file (curl: -F image=@FILE)")

    def _end(self) -> None:
        self.complete = self._parts == 1
