"""`artkin serve`: the service on an address of this machine, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

import uvicorn

from app.log import start_log
from app.main import create_app
from app.serving import Serving
from app.settings import Settings, read_settings
from app.tracing import start_tracing
from index.space.errors import BadInput

# Answers in progress are finished within this; below Docker's 10 s between SIGTERM and SIGKILL.
GRACE_SECONDS = 5
_HERE = ("127.0.0.1", "::1")
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags; each is also an ARTKIN_ variable (`settings.py`), which it overrides."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="the embedding model's folder")
    parser.add_argument("--releases", type=Path, metavar="DIR", help="default: releases")
    parser.add_argument("--host", help="default: 127.0.0.1, reached from this machine only")
    parser.add_argument("--port", type=int, help="default: 8000; 0 takes a free one")
    parser.add_argument(
        "--admin-key-file", type=Path, metavar="FILE", help="holds the bearer key of /v1/admin"
    )
    parser.add_argument(
        "--search-key-file", type=Path, metavar="FILE", help="holds the keys of all other calls"
    )
    parser.add_argument(
        "--metrics-key-file", type=Path, metavar="FILE", help="holds a key of /metrics alone"
    )
    parser.add_argument("--per-minute", type=int, help="calls of one key or address; default: any")
    parser.add_argument("--state", type=Path, metavar="DIR", help="default: state")
    parser.add_argument(
        "--collection", type=Path, metavar="DIR", help="what a rebuild over HTTP indexes"
    )
    parser.add_argument(
        "--trusted-proxies",
        metavar="ADDRESSES",
        help="addresses or networks whose X-Forwarded-For is believed; default: none",
    )
    parser.add_argument(
        "--root-path", metavar="PATH", help="where a proxy shows the service: /art; default: /"
    )
    parser.add_argument("--log", choices=["text", "json"], help="default: text")
    parser.add_argument(
        "--max-body-bytes",
        type=int,
        metavar="BYTES",
        help="of one request, four times as many of several pictures; default: 10 MiB",
    )


def main(options: argparse.Namespace) -> None:
    """Serve until told to stop.

    Raises:
        BadInput: a setting cannot be used, or the address is taken.
    """
    names = Settings.model_fields
    settings = read_settings({k: v for k, v in vars(options).items() if k in names})
    start_log(settings.log)
    start_tracing()
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    stopping = threading.Event()
    app = create_app(settings, lambda serving: _announce(url, serving), stopping.is_set)
    _log.info("listening on %s", url)
    if not (settings.search_key_file or settings.per_minute or host in _HERE):
        _log.warning(
            "everybody who reaches %s may search without a key and without a limit; see "
            "--search-key-file and --per-minute",
            url,
        )
    # uvicorn stops gracefully, then raises the signal again for whoever had it before; without
    # this, SIGTERM would end the process by signal instead of with 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        # uvicorn's own default believes whoever asks from this machine, and a variable of its own.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies.split(","),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        _Server(config, stopping).run(sockets=[listener])
    finally:
        _log.info("stopped")


class _Server(uvicorn.Server):
    """Says that it stops before it waits for what is in progress."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        self._stopping.set()
        super().handle_exit(sig, frame)


def _announce(url: str, serving: Serving) -> None:
    manifest = serving.release.manifest
    _log.info("ready on %s: release %s, %d works", url, manifest.id, manifest.works)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
        # asyncio does it for sockets of its own only; without it each answer on a kept connection
        # waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise BadInput(
            # Python appends the address once more: "... (while attempting to bind on ...)"
            f"cannot listen on {host} port {port}: {str(error.strerror).split(' (')[0]}; name "
            "another with --port or --host (--port 0 takes a free one)"
        ) from error
