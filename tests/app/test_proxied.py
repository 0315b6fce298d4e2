"""Behind a proxy: whose address counts, and the service below a path."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from app.client import Client
from app.settings import read_settings
from index.space.errors import BadInput
from tests.app.conftest import ADMIN, Service
from tests.browser import needs_chromium, start_chromium


def status_of(service: Service, *headers: str, path: str = "/v1/items/none") -> int:
    """What a request of these very header lines is answered with."""
    where = urlsplit(service.url)
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split(b" ", 2)[1])


@contextmanager
def limited(start_service, model, releases, *flags: str) -> Iterator[Service]:
    """A service that lets each address ask twice a minute."""
    service = start_service("--model", model, "--releases", releases, "--per-minute", 2, *flags)
    service.wait_for("/readyz", 200)
    yield service
    service.stop()


def forwarded(*addresses: str) -> str:
    return f"X-Forwarded-For: {', '.join(addresses)}"


def test_nobody_is_believed_unless_named(start_service, tiny_model, published) -> None:
    with limited(start_service, tiny_model, published) as service:
        found = [status_of(service, forwarded(f"192.0.2.{i}")) for i in range(4)]
    assert found == [404, 404, 429, 429]


def test_a_proxy_that_is_not_named_is_not_believed(start_service, tiny_model, published) -> None:
    flags = ("--trusted-proxies", "10.0.0.0/8,::1")
    with limited(start_service, tiny_model, published, *flags) as service:
        found = [status_of(service, forwarded(f"192.0.2.{i}")) for i in range(4)]
    assert found == [404, 404, 429, 429]


def test_behind_a_named_proxy_the_last_address_that_is_none_counts(
    start_service, tiny_model, published
) -> None:
    flags = ("--trusted-proxies", "127.0.0.1, 10.0.0.0/8")
    with limited(start_service, tiny_model, published, *flags) as service:
        # Whatever visitors write before it, and however many lines and proxies it takes.
        ways = [
            (forwarded("192.0.2.1"),),
            (forwarded("203.0.113.9", "192.0.2.1"),),
            (forwarded("203.0.113.8"), forwarded("192.0.2.1", "10.1.2.3")),
            (forwarded("127.0.0.1", "192.0.2.1", "10.1.2.3", "10.4.5.6"),),
        ]
        assert [status_of(service, *way) for way in ways] == [404, 404, 429, 429]
        assert status_of(service, forwarded("192.0.2.2")) == 404
        assert status_of(service, forwarded("2001:db8::1")) == 404
        assert [status_of(service) for _ in range(3)] == [404, 404, 429]  # the proxy itself


@pytest.mark.parametrize(
    "value", ["*", "proxy.example.org", "10.0.0.1/8", "0.0.0.0/0", "10.0.0.1,::/0", "10.0.0"]
)
def test_what_is_no_address_and_what_is_every_address_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match=r"trusted_proxies \(--trusted-proxies or ARTKIN_TRUSTED"):
        read_settings({"trusted_proxies": value})


@pytest.mark.parametrize(
    "value", ["art", "/a b", "//art", "/art/../v1", "/v1", "/static/art", "/ä"]
)
def test_a_path_that_cannot_be_kept_apart_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match=r"root_path \(--root-path or ARTKIN_ROOT_PATH\)"):
        read_settings({"root_path": value})


def test_a_slash_at_the_end_does_not_matter() -> None:
    assert read_settings({"root_path": "/art/"}).root_path == "/art"
    assert read_settings({"root_path": "/"}).root_path == ""


@pytest.fixture(scope="module")
def below(start_service, tiny_model, published, key_file) -> Service:
    """A service that a proxy shows at /art/."""
    service = start_service(
        *("--model", tiny_model, "--releases", published, "--root-path", "/art"),
        *("--admin-key-file", key_file),
    )
    service.wait_for("/readyz", 200)
    return service


@pytest.mark.parametrize("prefix", ["", "/art"], ids=["taken away", "passed on"])
def test_below_a_path(below: Service, prefix: str, a_photo: bytes) -> None:
    found = below.post(f"{prefix}/v1/search?k=1", files={"image": a_photo}).json()["results"][0]
    thumbnail = f"/v1/items/{found['id']}/thumbnail"
    assert found["thumbnail"] == f"/art{thumbnail}"
    assert below.get(f"{prefix}{thumbnail}").headers["content-type"] == "image/jpeg"
    assert below.get(f"{prefix}/v1/items/{found['id']}").json()["thumbnail"] == f"/art{thumbnail}"
    assert below.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/art"}]
    for path in ("/", "/docs", "/static/page.js", "/static/swagger-ui.css", "/healthz"):
        assert below.get(prefix + path).status_code == 200, path
    # Keys are asked for by either name.
    assert below.get(f"{prefix}/v1/admin/jobs").status_code == 401
    assert below.get(f"{prefix}/metrics").status_code == 401
    assert below.get(f"{prefix}/v1/admin/jobs", headers=ADMIN).status_code == 200
    assert below.get(f"{prefix}/nothing").json()["type"] == "/problems/not-found"
    assert below.get(f"/art{prefix}/art/v1/admin/jobs").status_code == 404


def test_where_a_job_is_said_to_be_it_is(below: Service) -> None:
    answer = below.post("/v1/admin/evaluations", headers=ADMIN)
    where = answer.headers["location"]
    assert where == f"/art/v1/admin/evaluations/{answer.json()['id']}"
    assert below.http.delete(below.url + where, headers=ADMIN).json()["id"] == answer.json()["id"]


def test_the_path_without_its_slash_leads_to_the_page(below: Service) -> None:
    answer = below.get("/art")
    assert (answer.status_code, answer.headers["location"]) == (308, "/art/")
    assert "content-security-policy" in answer.headers


def test_requests_below_a_path_are_counted_by_their_routes(below: Service) -> None:
    assert below.get("/art/v1/items/nobody").status_code == 404
    assert 'path="/v1/items/{id}",status="404"' in below.get("/metrics", headers=ADMIN).text


def test_the_client_asks_below_a_path(below: Service, a_photo: bytes) -> None:
    with Client(f"{below.url}/art") as client:
        (work,) = client.search(a_photo).results[:1]
        assert client.thumbnail(work.id)[:2] == b"\xff\xd8"


class TestPage:
    pytestmark = needs_chromium

    def test_shows_works_and_their_pictures(self, below: Service) -> None:
        work = below.get("/v1/items?limit=1").json()["results"][0]["id"]
        loaded = "return document.querySelectorAll('#wall img').length && [...document."
        loaded += "querySelectorAll('#wall img')].every((i) => i.complete && i.naturalWidth)"
        with start_chromium() as driver:
            from selenium.webdriver.support.ui import WebDriverWait

            driver.get(f"{below.url}/art/#like={work}")
            WebDriverWait(driver, 20).until(lambda d: d.execute_script(loaded))
            driver.get(f"{below.url}/art/docs")
            WebDriverWait(driver, 20).until(lambda d: "/v1/search" in d.page_source)
