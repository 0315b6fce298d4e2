"""The nginx configuration that is shipped, in Debian's nginx before a real service."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from app.client import Client
from app.limits import MANY
from app.settings import Settings
from index.releases import switch
from tests.app.conftest import ADMIN, Service, write_synthetic
from tests.browser import needs_chromium, start_chromium
from tests.deploy.conftest import CONF, Proxies, Proxy

MIB = 1 << 20
JOBS = "/v1/admin/evaluations"
BELOW = {"    location / {\n": "", "    # location /art/ {": "    location /art/ {"}
STRIPPED = {**BELOW, "        proxy_pass http://artkin;\n        # proxy": "        proxy"}
LOCAL_ADMIN = {"# allow 10.0.0.0/8;": "allow 127.0.0.1;"}
EDITS = {"at the root": {}, "passed on": BELOW, "taken away": STRIPPED}


def started(start_service, model, releases, *flags: object) -> Service:
    service = start_service(
        *("--model", model, "--releases", releases, "--trusted-proxies", "127.0.0.1"), *flags
    )
    service.wait_for("/readyz", 200)
    return service


@pytest.fixture(scope="module")
def behind(start_service, tiny_model, published, key_file) -> Service:
    """A service that believes the proxy."""
    return started(start_service, tiny_model, published, "--admin-key-file", key_file)


@pytest.fixture(scope="module")
def below(start_service, tiny_model, published, key_file) -> Service:
    """The same at /art/."""
    flags = ("--admin-key-file", key_file, "--root-path", "/art")
    return started(start_service, tiny_model, published, *flags)


@pytest.fixture(scope="module")
def proxy(behind: Service, start_nginx: Proxies) -> Proxy:
    return start_nginx(behind)


@pytest.fixture(scope="module", params=EDITS)
def way(request, behind: Service, below: Service, start_nginx: Proxies) -> tuple[Proxy, str]:
    """The three ways to show the service, each with what stands before its paths."""
    root = "" if request.param == "at the root" else "/art"
    return start_nginx(below if root else behind, EDITS[request.param]), root


def send(
    visitor: httpx.Client,
    body: bytes | Iterator[bytes],
    path: str = "/v1/search",
    kind: str = "image/jpeg",
) -> tuple[int, str | None]:
    """Status and problem type, or None, of a body sent as it is, by the service."""
    answer = visitor.post(path, content=body, headers={"Content-Type": kind})
    assert (
        answer.json().get("request_id", "") == answer.headers["x-request-id"] or answer.is_success
    )
    return answer.status_code, answer.json().get("type")


# Three ways to show it


def test_a_search_is_answered_and_its_links_lead_to_pictures(way, a_photo) -> None:
    proxy, root = way
    with Client(proxy.url + root) as client, proxy.visitor() as visitor:
        found = client.search(a_photo).results
        assert len(found) == 5
        for work in found:
            assert work.thumbnail.startswith(f"{root}/v1/items/")
            assert visitor.get(work.thumbnail).headers["content-type"] == "image/jpeg"
        assert client.similar(found[0].id).results[0].id != found[0].id
        assert client.ready().works == 24


def test_the_service_s_own_errors_pass_as_they_are(way) -> None:
    proxy, root = way
    with proxy.visitor() as visitor:
        for path, status, slug in [
            ("/v1/items/nobody", 404, "no-such-item"),
            ("/nothing", 404, "not-found"),
            ("/v1/items?limit=-1", 422, "invalid-parameter"),
        ]:
            answer = visitor.get(root + path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_admin_calls_and_metrics_are_not_shown_however_they_are_written(way) -> None:
    proxy, root = way
    with proxy.visitor("127.0.0.2") as visitor:
        answer = visitor.get(f"{root}/v1/admin/jobs", headers=ADMIN)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/private")
    assert answer.headers["content-type"] == "application/problem+json"
    for path in (
        *("/v1/admin", "/v1/admin/jobs", "//v1/admin/jobs", "/v1//admin/jobs", "/v1/%61dmin/jobs"),
        *("/x/../v1/admin/jobs", "/v1/admin%2fjobs", "/v1/admin/jobs?limit=1", "/v1/./admin/jobs"),
        *("/metrics", "/metrics/", "//metrics", "/%6detrics", "/art/metrics", "/art/v1/admin/jobs"),
        *("/art//art/v1/admin/jobs", "/art/art/art/metrics", "/%61rt/v1/admin/jobs"),
    ):
        assert proxy.status_of(root + path) == 403, path
    assert proxy.status_of(f"{root}/v1/items/metrics") == 404  # a work may be called so


def test_a_path_without_its_slash_leads_to_the_page(below: Service, start_nginx: Proxies) -> None:
    for edits in (BELOW, STRIPPED):
        with start_nginx(below, edits).visitor() as visitor:
            answer = visitor.get("/art")
            assert answer.headers["location"] == "/art/"
            assert "<title>" in visitor.get("/art", follow_redirects=True).text


class TestPage:
    pytestmark = needs_chromium

    def test_works_hang_with_their_pictures(self, way, a_photo, tmp_path) -> None:
        proxy, root = way
        picture = tmp_path / "mine.jpg"
        picture.write_bytes(a_photo)
        shown = "return [...document.querySelectorAll('#wall img')].filter("
        shown += "(image) => image.complete && image.naturalWidth).length === 5"
        with start_chromium() as driver:
            from selenium.webdriver.support.ui import WebDriverWait

            wait = WebDriverWait(driver, 20)
            driver.get(f"{proxy.url}{root}/")
            driver.find_element("id", "file").send_keys(str(picture))
            wait.until(lambda d: d.execute_script(shown))
            driver.find_element("css selector", ".more").click()
            wait.until(lambda d: "#like=" in d.current_url and d.execute_script(shown))
            driver.get(f"{proxy.url}{root}/docs")
            wait.until(lambda d: "/v1/search" in d.page_source)
            assert driver.get_log("browser") == []


# Bodies


def test_a_picture_has_the_service_s_limit_to_the_byte(proxy: Proxy) -> None:
    with proxy.visitor() as visitor:
        assert send(visitor, bytes(10 * MIB)) == (415, "/problems/unsupported-image")
        for _ in range(5):  # the service refuses while the body is still coming
            assert send(visitor, bytes(10 * MIB + 1)) == (413, "/problems/body-too-large")
        chunked = (bytes(MIB) for _ in range(12))
        assert send(visitor, chunked) == (413, "/problems/body-too-large")


def test_several_pictures_have_the_service_s_limit_to_the_byte(proxy: Proxy) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    tail = b"\r\n--x--\r\n"
    form = "multipart/form-data; boundary=x"
    with proxy.visitor() as visitor:
        for more, found in ((0, (200, None)), (1, (413, "/problems/body-too-large"))):
            body = head + bytes(40 * MIB - len(head) - len(tail) + more) + tail
            assert send(visitor, body, "/v1/search/batch", form) == found


def test_beyond_the_proxy_s_own_limit_it_says_so_in_the_same_words(proxy: Proxy) -> None:
    """The proxy's limit is above all of the service's."""
    (most,) = re.findall(r"client_max_body_size (\d+)m;", CONF.read_text())
    assert int(most) * MIB > Settings().max_body_bytes * MANY
    with proxy.visitor() as visitor:
        answer = visitor.post("/v1/search/batch", content=bytes(int(most) * MIB + 1))
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
    assert answer.json()["detail"].startswith("the proxy passes on 41 MiB")


def begin_upload(proxy: Proxy, length: int, path: str = "/v1/search") -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    return connection


def test_a_refusal_does_not_wait_for_the_body(proxy: Proxy) -> None:
    connection = begin_upload(proxy, 11 * MIB)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_slow_upload_is_answered_and_never_on_the_disk(proxy: Proxy, a_photo: bytes) -> None:
    long = a_photo + bytes(MIB)  # what follows a picture is not read
    connection = begin_upload(proxy, len(long))
    for start in range(0, len(long), 300_000):
        connection.send(long[start : start + 300_000])
        time.sleep(0.1)
    answer = connection.getresponse()
    assert (answer.status, b'"rank":5' in answer.read()) == (200, True)
    connection.close()
    # What nginx says where it writes a body or an answer to the disk.
    assert "temporary file" not in proxy.errors.read_text()


# Addresses


def test_each_visitor_has_a_rate_and_none_escapes_it(
    start_service, tiny_model, published, start_nginx: Proxies
) -> None:
    service = started(start_service, tiny_model, published, "--per-minute", 2)
    proxy = start_nginx(service)
    path = "/v1/items/none"

    def ask(address: str, *forwarded: str) -> int:
        return proxy.status_of(path, *forwarded, address=address)

    # A visitor who writes another address, or the proxy's own, each time.
    said = [("192.0.2.1",), ("192.0.2.2", "127.0.0.1"), ("192.0.2.3, 127.0.0.1",), ()]
    assert [ask("127.0.0.2", *lines) for lines in said] == [404, 404, 429, 429]
    assert [ask("127.0.0.3") for _ in range(3)] == [404, 404, 429]
    # Past the proxy nobody is believed, and whose address was spent there has no calls here.
    direct = Proxy(proxy.process, urlsplit(service.url).port or 0, proxy.errors)
    assert direct.status_of(path, "192.0.2.4", address="127.0.0.2") == 429
    asked = [direct.status_of(path, f"192.0.2.{n}", address="127.0.0.4") for n in (5, 6, 7)]
    assert asked == [404, 404, 429]


def test_the_proxy_is_the_first_to_close_an_idle_connection() -> None:
    (kept,) = re.findall(r"keepalive_timeout (\d+)s;", CONF.read_text())
    assert int(kept) < uvicorn.Config("").timeout_keep_alive


# Events and ends


@pytest.fixture
def large(start_service, tiny_model, key_file, tmp_path, start_nginx) -> tuple[Service, Proxy]:
    """A service whose evaluation takes seconds, the proxy open to this machine's admins."""
    switch(tmp_path / "releases", write_synthetic(tmp_path / "releases", tiny_model, works=4000))
    flags = ("--admin-key-file", key_file)
    service = started(start_service, tiny_model, tmp_path / "releases", *flags)
    return service, start_nginx(service, LOCAL_ADMIN)


def test_events_come_as_they_happen(large: tuple[Service, Proxy]) -> None:
    _, proxy = large
    with proxy.visitor() as visitor:
        where = visitor.post(JOBS, headers=ADMIN).headers["location"]
        with visitor.stream("GET", f"{where}/events", headers=ADMIN) as answer:
            events = (line for line in answer.iter_lines() if line.startswith("event: "))
            assert next(events) in ("event: queued", "event: running")
            # Kept back until its end, nothing would have been seen to cancel.
            assert visitor.delete(where, headers=ADMIN).json()["status"] == "cancelled"
            assert list(events)[-1] == "event: cancelled"
    assert proxy.status_of("/v1/admin/jobs", address="127.0.0.2") == 403


def test_what_is_in_flight_is_answered_and_then_it_is_said_that_nobody_is_there(
    start_service, tiny_model, published, start_nginx: Proxies, a_photo: bytes
) -> None:
    service = started(start_service, tiny_model, published)
    proxy = start_nginx(service)
    connection = begin_upload(proxy, len(a_photo))
    connection.send(a_photo[:500])
    time.sleep(0.3)
    service.process.terminate()
    time.sleep(0.5)
    connection.send(a_photo[500:])
    answer = connection.getresponse()
    assert (answer.status, b'"rank":5' in answer.read()) == (200, True)
    assert service.process.wait(20) == 0
    with proxy.visitor() as visitor:
        for _ in range(3):
            gone = visitor.get("/readyz")
            assert (gone.status_code, gone.json()["type"]) == (502, "/problems/unreachable")
            assert gone.json()["status"] == 502
            assert gone.headers["retry-after"] == "5"
            assert gone.headers["content-type"] == "application/problem+json"
