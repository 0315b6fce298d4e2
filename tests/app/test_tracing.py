"""Traces reach a collector, and say nothing of who asked or what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.app import conftest
from tests.app.conftest import Service


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector's address and what it received."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()


def test_a_search_is_a_span_with_its_stages(
    collector, monkeypatch, tmp_path, tiny_model, published, a_photo
) -> None:
    address, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    places = ("--model", tiny_model, "--releases", published, "--state", tmp_path)
    service: Service = conftest.start(*places)
    service.wait_for("/readyz", 200)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = service.search(a_photo, headers={"traceparent": parent})
    service.get("/v1/items?q=a-name-that-nobody-need-know")
    assert service.stop() == 0  # sends what it holds
    spans = [
        span
        for body in received
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    request = next(span for span in spans if span.name == "POST /v1/search")
    assert request.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    attributes = {a.key: a.value.string_value or a.value.int_value for a in request.attributes}
    assert attributes == {
        "artkin.request_id": answer.headers["x-request-id"],
        "http.response.status_code": 200,
    }
    stages = [span for span in spans if span.parent_span_id == request.span_id]
    assert {span.name for span in stages} == {"read", "decode", "embed", "search"}
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in stages)
    assert not any(b"nobody-need-know" in body or b"127.0.0.1" in body for body in received)
