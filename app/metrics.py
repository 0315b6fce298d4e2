"""What Prometheus reads at /metrics.

Stages of a search are timed where they happen; requests at the app's edge (`timed.py`). Paths are
the routes' own patterns, so that ids and what people type are no labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.answers import Neighbours

MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
REGISTRY = CollectorRegistry()
_stages = Histogram(
    "artkin_stage_seconds",
    "Time of a search's stages: read, decode, embed, search",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
waiting = Gauge("artkin_queue_waiting", "Requests that wait for their turn", registry=REGISTRY)
running = Gauge("artkin_queue_running", "Requests at work", registry=REGISTRY)
refusals = Counter("artkin_refusals", "Requests refused, by reason", ["reason"], registry=REGISTRY)
nearest = Histogram(
    "artkin_nearest_score",
    "Cosine of the nearest work to an uploaded picture: a drift shows that visitors bring other "
    "pictures than the collection has",
    buckets=[step / 20 for step in range(-4, 21)],
    registry=REGISTRY,
)
nothing_alike = Counter(
    "artkin_nothing_alike", "Pictures that nothing in the collection is like", registry=REGISTRY
)
serving = Info("artkin_serving", "The release and the model served", registry=REGISTRY)
works = Gauge("artkin_works", "Works that can be found", registry=REGISTRY)
requests = Histogram(
    "artkin_request_seconds",
    "Time to the end of the answer",
    ["method", "path", "status"],
    buckets=_SECONDS,
    registry=REGISTRY,
)


def exposition() -> bytes:
    """Everything, as Prometheus reads it."""
    return generate_latest(REGISTRY)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a stage of a search, and trace it where traces are asked for."""
    with _stages.labels(name).time(), trace.get_tracer("artkin").start_as_current_span(name):
        yield


def note_nearest(found: Neighbours) -> None:
    """Count the first answer to an uploaded picture."""
    if found.results:
        nearest.observe(found.results[0].score)
    if found.nothing_alike:
        nothing_alike.inc()
