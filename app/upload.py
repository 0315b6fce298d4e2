"""The pictures of a request, in memory: multipart form or raw body.

Starlette's form parser writes files over 1 MiB to the disk, takes the last of two files with the
same name, and does not miss a final boundary. Its own parser, python-multipart, is used here
directly; a part's file name is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from app.metrics import stage
from app.problems import Problem

FIELD = "image"
_PICTURE = "seascape"
# Fields with the number of files that each may hold.
Fields: TypeAlias = Mapping[str, int]
ONE: Fields = {FIELD: 1}
BATCH: Fields = {FIELD: 32}
EXAMPLES: Fields = {"positive": 8, "negative": 8}


def request_body(fields: Fields, raw: bool = False, required: bool = True) -> dict[str, Any]:
    """What OpenAPI says of such a request.

    Args:
        raw: a picture alone may be sent as well.
    """
    file = {"type": "string", "format": "binary"}
    several = {name: {"type": "array", "items": file, "maxItems": n} for name, n in fields.items()}
    properties = {FIELD: file} if fields == ONE else several
    form = {name: _PICTURE if fields == ONE else [_PICTURE] for name in fields}
    flags = " ".join(f"-F {name}=@{_PICTURE}" for name in fields)
    needed = {"required": [FIELD]} if FIELD in fields else {}
    schema = {
        "type": "object",
        **needed,
        "properties": properties,
        "additionalProperties": False,
        "description": "Pictures alone; options are parameters of the URL.",
    }
    content = {"multipart/form-data": {"schema": schema, "examples": _example(form, flags)}}
    for kind in ("image/jpeg", "image/png", "image/webp") if raw else ():
        flags = f"-H 'Content-Type: {kind}' --data-binary @{_PICTURE}"
        content[kind] = {"schema": file, "examples": _example(_PICTURE, flags)}
    return {"requestBody": {"required": required, "content": content}}


def _example(value: Any, flags: str) -> dict[str, Any]:
    """JSON holds no picture: its file's name stands for it, and curl says how it is sent."""
    return {"curl": {"summary": f"curl {flags} URL", "value": value}}


async def read_picture(request: Request) -> bytes:
    """The bytes of the one uploaded picture, of a form or sent alone.

    Raises:
        Problem: 415 `unsupported-media-type`, 400 `multipart-malformed`, 413 `body-too-large`.
    """
    kind, options = _content_type(request)
    if kind == b"multipart/form-data":
        return _files(await _body(request), options, ONE)[FIELD][0]
    if kind.startswith(b"image/"):
        return await _body(request)
    raise _unsupported(request, f"multipart/form-data with a file field {FIELD!r}, or image/*")


async def read_pictures(request: Request, fields: Fields) -> dict[str, list[bytes]]:
    """The bytes of the pictures of a form, by field.

    Raises:
        Problem: 415 `unsupported-media-type`, 400 `multipart-malformed`, 413 `body-too-large`.
    """
    kind, options = _content_type(request)
    if kind == b"multipart/form-data":
        return _files(await _body(request), options, fields)
    if not kind and FIELD not in fields and not await request.body():
        return {name: [] for name in fields}  # examples may be ids alone
    raise _unsupported(request, f"multipart/form-data with {_described(fields)}")


async def _body(request: Request) -> bytes:
    with stage("read"):
        return await request.body()


def _content_type(request: Request) -> tuple[bytes, Mapping[bytes, bytes]]:
    return parse_options_header(request.headers.get("content-type", ""))


def _unsupported(request: Request, wanted: str) -> Problem:
    received = request.headers.get("content-type", "")[:100]
    return Problem(
        415, "unsupported-media-type", f"Content-Type must be {wanted}; received {received!r}"
    )


def _described(fields: Fields) -> str:
    if fields == ONE:
        return f"exactly one file, in the field {FIELD!r}, and nothing else"
    each = [f"at most {most} files in the field {name!r}" for name, most in fields.items()]
    return " and ".join(each)


def _files(body: bytes, options: Mapping[bytes, bytes], fields: Fields) -> dict[str, list[bytes]]:
    if b"boundary" not in options:
        raise _malformed(fields, "its Content-Type has no boundary")
    form = _Form(fields)
    try:
        MultipartParser(options[b"boundary"], form.callbacks()).write(body)
    except FormParserError as error:
        raise _malformed(fields, str(error)) from error
    if not form.complete:
        raise _malformed(fields, "it has no part, or ends before its final boundary")
    return {name: [bytes(file) for file in files] for name, files in form.files.items()}


def _malformed(fields: Fields, why: str) -> Problem:
    return Problem(400, "multipart-malformed", f"the form must hold {_described(fields)}: {why}")


class _Form:
    """Collects the files that a form may have; anything else is refused as soon as it shows."""

    def __init__(self, fields: Fields) -> None:
        self.files: dict[str, list[bytearray]] = {name: [] for name in fields}
        self.complete = False
        self._fields = fields
        self._file = bytearray()
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
            "on_part_data": lambda data, start, end: self._file.extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _check(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self._fields:
            # Passed over, it would be a misspelt option that nobody hears of.
            raise _malformed(
                self._fields,
                f"received a field {name[:50]!r}; what is not a picture goes into the URL, as ?k=5",
            )
        if b"filename" not in options:
            raise _malformed(
                self._fields, f"the field {name!r} holds text; send a file (curl: -F {name}=@FILE)"
            )
        if len(self.files[name]) == self._fields[name]:
            raise _malformed(self._fields, f"received more files in the field {name!r}")
        self._file = bytearray()
        self.files[name].append(self._file)

    def _end(self) -> None:
        self.complete = any(self.files.values())
