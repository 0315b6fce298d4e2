"""What Prometheus reads at /metrics; docs/operating.md says what each is for.

Stages of a search are timed where they happen; requests at the app's edge (`timed.py`). Paths are
the routes' own patterns, so that ids and what people type are no labels.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from typing import get_args

from opentelemetry import trace
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.answers import JobKind, Neighbours
from index.rebuilt import Rebuilt

MEDIA_TYPE = CONTENT_TYPE_LATEST
# A third of all series, which say when the process began to count: process_start_time_seconds does.
disable_created_metrics()  # type: ignore[no-untyped-call]
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_stages = Histogram(
    "artkin_stage_seconds",
    "Time of a search's stages: read, decode, embed, search",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
waiting = Gauge("artkin_queue_waiting", "Requests that wait for their turn", registry=REGISTRY)
running = Gauge("artkin_queue_running", "Requests at work", registry=REGISTRY)
refusals = Counter(
    "artkin_refusals",
    "Requests refused, and pictures of a batch, by reason",
    ["reason"],
    registry=REGISTRY,
)
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
jobs = Counter(
    "artkin_jobs", "Jobs asked for over HTTP that are over", ["kind", "status"], registry=REGISTRY
)
ready = Gauge("artkin_ready", "Whether searches can be answered", registry=REGISTRY)
release_refused = Gauge(
    "artkin_release_refused",
    "Whether what is published cannot be served, and the release before it is, or none",
    registry=REGISTRY,
)
_serving = Info("artkin_serving", "The release and the model served", registry=REGISTRY)
_created = Gauge(
    "artkin_release_created_timestamp_seconds",
    "When the release served was made",
    registry=REGISTRY,
)
works = Gauge("artkin_works", "Works that can be found", registry=REGISTRY)
changes_waiting = Gauge(
    "artkin_changes_waiting",
    "Works added and taken down that wait for a rebuild",
    registry=REGISTRY,
)
_rebuild_ended = Gauge(
    "artkin_rebuild_ended_timestamp_seconds",
    "When the last rebuild ended, well or not; 0: none has",
    registry=REGISTRY,
)
_rebuild_succeeded = Gauge(
    "artkin_rebuild_succeeded_timestamp_seconds",
    "When the last rebuild ended that published a release or had nothing to do; 0: none has",
    registry=REGISTRY,
)
_decoders = Gauge(
    "artkin_decoders_resident_memory_bytes",
    "Resident memory of the processes that decode uploads, beside process_resident_memory_bytes",
    registry=REGISTRY,
)
requests = Histogram(
    "artkin_request_seconds",
    "Time to the end of the answer",
    ["method", "path", "status"],
    buckets=_SECONDS,
    registry=REGISTRY,
)

# What alerts count is there from the start: of a series that begins with 1 no increase is seen.
# https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics
for _reason in (
    *("internal-error", "overloaded", "rate-limited", "too-much-memory", "too-slow-to-decode"),
    "unauthorized",
):
    refusals.labels(_reason)
for _kind, _status in product(get_args(JobKind), ("done", "failed", "cancelled")):
    jobs.labels(_kind, _status)
for _stage in ("read", "decode", "embed", "search"):
    _stages.labels(_stage)


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


def note_release(created: str, versions: dict[str, str]) -> None:
    """A release begins to be served."""
    ready.set(1)
    release_refused.set(0)
    _created.set(datetime.fromisoformat(created).timestamp())
    _serving.info(versions)


def note_rebuilt(last: Rebuilt | None) -> None:
    """What is on record of rebuilds."""
    _rebuild_ended.set(last.ended.timestamp() if last else 0)
    _rebuild_succeeded.set(last.succeeded.timestamp() if last and last.succeeded else 0)


def _resident() -> float:
    """Of the child processes that Python's own library has started; 0 where there is no /proc."""
    pages = 0
    for process in multiprocessing.active_children():
        try:
            with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
                pages += int(file.read().split()[1])
        except (OSError, IndexError):  # it has just ended
            continue
    return float(pages * resource.getpagesize())


_decoders.set_function(_resident)
