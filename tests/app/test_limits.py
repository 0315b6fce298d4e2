"""What is decided before the body is read: size, admin key, headers. Rows T3 and T5."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPResponse
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from fastapi import FastAPI, Request

from app import limits
from app.limits import BodyLimit, Envelope
from app.problems import add_handlers
from tests.app.conftest import ADMIN, ADMIN_KEY, Service

MIB = 1 << 20
JOBS = "/v1/admin/evaluations"


def exchange(service: Service, request: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; returns the status and the body."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def test_a_declared_body_over_the_limit_is_refused(service: Service) -> None:
    declared = head("/v1/search", "Content-Type: image/png", f"Content-Length: {11 * MIB}")
    status, answer = exchange(service, declared)
    assert status == 413
    assert b'"type":"/problems/body-too-large"' in answer


def test_a_chunked_body_over_the_limit_is_refused(service: Service) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(12):
            yield bytes(MIB)

    answer = service.post("/v1/search", content=chunks(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/body-too-large"


def test_a_whole_upload_over_the_limit_gets_its_answer(service: Service) -> None:
    """The sender must be able to read it although its body was not taken in."""
    answer = service.search(bytes(11 * MIB))
    assert answer.status_code == 413
    assert "received" in answer.json()["detail"]


def test_just_under_the_limit_is_read(service: Service) -> None:
    assert service.search(bytes(10 * MIB - 1000)).status_code == 415


def test_a_length_that_lies_reaches_no_further(service: Service, a_photo) -> None:
    """Said to be 10 bytes: 10 bytes are read, and they are no picture."""
    lying = head("/v1/search", "Content-Type: image/png", "Content-Length: 10", "Connection: close")
    status, answer = exchange(service, lying + a_photo)
    assert status == 422
    assert b"image-corrupt" in answer or b"unsupported" in answer


def test_a_body_that_ends_early_harms_nobody(service: Service, a_photo) -> None:
    short = head("/v1/search", "Content-Type: image/png", f"Content-Length: {len(a_photo) + 99}")
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(short + a_photo)
    assert service.search(a_photo).status_code == 200
    assert not any("Traceback" in line for line in service.log)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"Bearer wrong-key-wrong-key",
        b"Bearer",
        b"Bearer  x",
        b"Basic " + ADMIN_KEY.encode(),
        ADMIN_KEY.encode(),
        "Bearer ключ".encode(),
        b"Bearer \xff\xfe\xfd",
    ],
)
def test_admin_calls_without_the_key_are_refused(service: Service, header: bytes | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = service.post(JOBS, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems/unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/admin", "/v1/admin/", "/v1/admin/no-such", JOBS + "/x"])
def test_nothing_below_admin_shows_without_the_key(service: Service, path: str) -> None:
    assert service.get(path).status_code == 401


def test_the_key_is_checked_before_the_body_arrives(service: Service) -> None:
    """300 MB are announced and never sent: the refusal comes all the same."""
    status, _ = exchange(service, head(JOBS, f"Content-Length: {300 * MIB}"))
    assert status == 401


def test_the_right_key_need_not_be_ascii(service: Service) -> None:
    assert service.get(f"{JOBS}/no-such-job", headers=ADMIN).status_code == 404


def test_without_a_key_admin_is_off_and_says_how(start_service, tiny_model, published) -> None:
    service = start_service("--model", tiny_model, "--releases", published)
    answer = service.post(JOBS, headers={"Authorization": "Bearer x"})
    assert answer.status_code == 403
    assert "--admin-key-file" in answer.json()["detail"]
    service.stop()


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/nowhere", "/static/page.css", JOBS])
def test_every_answer_carries_the_security_headers(service: Service, path: str) -> None:
    headers = service.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert len(headers["x-request-id"]) == 32
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/static/../settings.py", 404, "not-found"),
        ("GET", "/static/%2e%2e/settings.py", 404, "not-found"),
        ("GET", "/v1/search", 405, "method-not-allowed"),
        ("DELETE", "/v1/items/x", 405, "method-not-allowed"),
    ],
)
def test_wrong_paths_and_methods_are_problems(service, method, path, status, slug) -> None:
    answered, answer = exchange(
        service, f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answered == status
    assert f'"type":"/problems/{slug}"'.encode() in answer


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    app = FastAPI()
    add_handlers(app)

    @app.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())

    async def slowly(*waits: float) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            for wait in waits:
                await anyio.sleep(wait)
                yield b"x"

        transport = httpx.ASGITransport(Envelope(BodyLimit(app, 1000)))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post("/", content=body())

    assert anyio.run(slowly, 0, 0.01).json() == 2
    for waits in ((0, 1), (0.15, 0.15)):
        answer = anyio.run(slowly, *waits)
        assert (answer.status_code, answer.json()["type"]) == (408, "/problems/body-too-slow")
        assert "within 0.2 s; 1 bytes did" in answer.json()["detail"]
