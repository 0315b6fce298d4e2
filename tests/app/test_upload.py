"""How a picture may be sent: rows T1, T2 and T4 of the table of bad inputs."""

from __future__ import annotations

import pytest

from tests.app.conftest import Service

PART = b'Content-Disposition: form-data; name="image"; filename="x"\r\n'


def send(service: Service, body: bytes, content_type: str = "multipart/form-data; boundary=XX"):
    return service.post("/v1/search", content=body, headers={"Content-Type": content_type})


def form(*parts: bytes, end: bytes = b"--XX--\r\n") -> bytes:
    return b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts) + end


def part(picture: bytes, headers: bytes = PART) -> bytes:
    return headers + b"\r\n" + picture


def test_the_plain_form_is_taken(service: Service, a_photo) -> None:
    assert send(service, form(part(a_photo))).status_code == 200


@pytest.mark.parametrize(
    ("why", "make"),
    [
        ("two files", lambda p: form(part(p), part(p))),
        ("1001 parts", lambda p: form(*[part(b"x")] * 1001)),
        ("nine headers", lambda p: form(part(p, PART + b"X: y\r\n" * 8))),
        ("a header of 5 KB", lambda p: form(part(p, PART + b"X: " + b"y" * 5000 + b"\r\n"))),
        ("final boundary cut", lambda p: form(part(p), end=b"--XX")),
        ("no final boundary", lambda p: form(part(p), end=b"")),
        ("another boundary", lambda p: form(part(p)).replace(b"XX", b"YY")),
        (
            "text in the field",
            lambda p: form(b'Content-Disposition: form-data; name="image"\r\n\r\nx'),
        ),
        ("another field", lambda p: form(part(p, PART.replace(b"image", b"file")))),
        ("no name", lambda p: form(part(p, b"Content-Disposition: form-data\r\n"))),
        ("no disposition", lambda p: form(part(p, b"X: y\r\n"))),
        (
            "a field beside it",
            lambda p: form(part(p), b'Content-Disposition: form-data; name="k"\r\n\r\n5'),
        ),
        ("no parts", lambda p: form()),
        ("nothing", lambda p: b""),
        ("garbage", lambda p: bytes(range(256)) * 9),
    ],
)
def test_malformed_forms_are_refused(service: Service, a_photo, why, make) -> None:
    answer = send(service, make(a_photo))
    assert answer.status_code == 400, (why, answer.text)
    assert answer.json()["type"] == "/problems/multipart-malformed"
    assert "exactly one file" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["k", "filter", "anything"])
def test_a_field_beside_the_picture_is_refused_like_an_unknown_parameter(
    service: Service, a_photo, name: str
) -> None:
    """Before or after it, and whether it would be an option or not: the message says where to."""
    field = b'Content-Disposition: form-data; name="%s"\r\n\r\n5' % name.encode()
    for body in (form(field, part(a_photo)), form(part(a_photo), field)):
        answer = send(service, body)
        assert answer.status_code == 400
        assert (
            f"received a field '{name}'; what is not a picture goes into the URL, as ?k=5"
            in (answer.json()["detail"])
        )


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'x' * 300}"])
def test_bad_boundaries_are_refused(service: Service, a_photo, boundary: str) -> None:
    answer = send(service, form(part(a_photo)), f"multipart/form-data{boundary}")
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/multipart-malformed"


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/octet-stream", "\xff", ""]
)
def test_other_content_types_are_refused(service: Service, a_photo, content_type: str) -> None:
    headers = {"Content-Type": content_type.encode("latin-1")}
    answer = service.post("/v1/search", content=a_photo, headers=headers)
    assert answer.status_code == 415
    assert answer.json()["type"] == "/problems/unsupported-media-type"


def test_an_empty_raw_body_is_an_empty_file(service: Service) -> None:
    answer = service.post("/v1/search", content=b"", headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/empty-file")


def test_uploads_are_never_written_to_the_disk(service: Service) -> None:
    """3 MiB would be spooled to a file by Starlette's parser."""
    before = _written_bytes(service)
    assert service.search(bytes(3 << 20)).status_code == 415
    assert _written_bytes(service) - before < 1 << 20


def _written_bytes(service: Service) -> int:
    with open(f"/proc/{service.process.pid}/io") as file:
        counts = dict(line.split(": ") for line in file.read().splitlines())
    return int(counts["write_bytes"])
