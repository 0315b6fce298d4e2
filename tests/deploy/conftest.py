"""The service of `tests/app`, and the real nginx before it, with the file that is shipped."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.app.conftest import ROOT, Service, a_photo, key_file, start_service

__all__ = ["a_photo", "key_file", "start_service"]  # fixtures

CONF = ROOT / "deploy/nginx/artkin.conf"
# Debian's is not in everybody's PATH.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass
class Proxy:
    """A running nginx."""

    process: subprocess.Popen[bytes]
    port: int
    errors: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def visitor(self, address: str = "127.0.0.1") -> httpx.Client:
        """A client with an address of its own."""
        transport = httpx.HTTPTransport(local_address=address)
        return httpx.Client(base_url=self.url, transport=transport, timeout=60)

    def status_of(self, path: str, *forwarded: str, address: str = "127.0.0.2") -> int:
        """Of a path that is sent as it is written, with these X-Forwarded-For."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=20, source_address=(address, 0)
        )
        connection.putrequest("GET", path)
        for line in forwarded:
            connection.putheader("X-Forwarded-For", line)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status


Edits = dict[str, str]
Proxies = Callable[..., Proxy]


def changed(text: str, edits: Edits) -> str:
    """A text with each of these replaced, which must be there once."""
    for old, new in edits.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="session")
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    """A factory: `start_nginx(service, edits={})` puts the shipped file before a service."""
    if NGINX is None:
        pytest.skip("needs nginx: apt-get install nginx-light")
    started: list[Proxy] = []

    def start_one(service: Service, edits: Edits | None = None) -> Proxy:
        folder = tmp_path_factory.mktemp("nginx")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        places = {
            "listen 80;": f"listen 127.0.0.1:{port};",
            "listen [::]:80;": "",  # not every machine has IPv6
            "server 127.0.0.1:8000;": f"server {urlsplit(service.url).netloc};",
        }
        (folder / "artkin.conf").write_text(changed(CONF.read_text(), {**(edits or {}), **places}))
        proxy = Proxy(_start(folder), port, folder / "errors")
        started.append(proxy)
        _wait_for(proxy)
        return proxy

    yield start_one
    for proxy in started:
        proxy.process.send_signal(signal.SIGTERM)
        proxy.process.wait(10)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    """What Debian's nginx.conf has around, with all that nginx writes in a folder of the test's."""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""  # the folder is of who runs the test
    around = f"daemon off; pid {folder}/pid; error_log {folder}/errors warn; {user} events {{}} "
    around += f"http {{ access_log off; {temporary} default_type application/octet-stream; "
    (folder / "nginx.conf").write_text(f"{around} include {folder}/artkin.conf; }}")
    assert NGINX is not None
    return subprocess.Popen(
        [NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "errors"]
    )


def _wait_for(proxy: Proxy) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", proxy.port)).close()
        except ConnectionRefusedError:
            running = proxy.process.poll() is None and time.monotonic() < end
            assert running, proxy.errors.read_text()
            time.sleep(0.05)
