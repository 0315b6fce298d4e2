"""OpenTelemetry traces, where the standard variable OTEL_EXPORTER_OTLP_ENDPOINT asks for them.

A span for each request, named by its route, and one for each stage of a search below it; nothing in
them says who asked or what. Without the variable nothing is recorded and nothing is sent.
"""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.propagate import extract
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.timed import pattern_of
from index.space.errors import BadInput

ASKED_FOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
tracer = trace.get_tracer("artkin")


def start_tracing() -> None:
    """Send spans where the variable says, if it is set; once a process.

    Raises:
        BadInput: it is set, and the packages are not installed.
    """
    if not os.environ.get(ASKED_FOR):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{ASKED_FOR} is set, and traces need packages that are not installed ({error.name}); "
            "run `pip install 'artkin[trace]'`, or unset it"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "artkin"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


class Traced:
    """A span for each request; inside `limits.Envelope`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        with tracer.start_as_current_span(
            scope["method"], extract(Headers(scope=scope)), trace.SpanKind.SERVER
        ) as span:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            span.set_attribute("artkin.request_id", scope["state"]["request_id"])
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                span.update_name(f"{scope['method']} {pattern_of(scope)}")
