"""Many at once: the same answers as one by one, an early 503 beyond the queue, health always."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.problems import Problem
from tests.app.conftest import Service
from tests.bad_pictures import encoded, photo
from tests.conftest import STYLES, paint


def patiently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask again when told to."""
    while (answer := ask()).status_code == 503:
        assert answer.headers["retry-after"] == "1"
        time.sleep(0.1)
    return answer


def test_parallel_searches_equal_serial_ones(service: Service) -> None:
    pictures = [encoded(paint(style, seed), "PNG") for style in STYLES for seed in range(50, 60)]
    serial = [patiently(lambda p=p: service.search(p, k=10)).json() for p in pictures]
    with ThreadPoolExecutor(30) as threads:
        answers = threads.map(lambda p: patiently(lambda: service.search(p, k=10)), pictures)
        parallel = [answer.json() for answer in answers]
    assert parallel == serial
    assert len({str(answer["results"]) for answer in serial}) == 30  # they can be told apart


def test_a_burst_is_refused_early_and_health_answers(service: Service) -> None:
    heavy = encoded(photo(4000, 3000), "JPEG", quality=80)
    assert service.search(heavy).status_code == 200
    stop = threading.Event()

    def watch() -> int:
        """How often health was asked, and answered, during the burst."""
        alive = 0
        while not stop.is_set():
            assert service.get("/healthz").status_code == 200
            alive += 1
        return alive

    with ThreadPoolExecutor(40) as threads:
        watching = threads.submit(watch)
        answers = list(threads.map(lambda _: service.search(heavy), range(30)))
        stop.set()
        alive = watching.result()
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["type"] == "/problems/overloaded"
    assert refused.headers["retry-after"] == "1"
    assert alive > 1  # again and again, never refused; how fast is a benchmark's question
    assert service.search(heavy).status_code == 200


@pytest.mark.parametrize("running", [1, 2])
def test_the_gate_counts(running: int) -> None:
    import anyio

    from app.gate import Gate

    async def burst() -> tuple[list[str], int]:
        gate = Gate(running=running, waiting=2)
        outcomes: list[str] = []
        release = threading.Event()

        async def one() -> None:
            try:
                await gate.run(release.wait, 5)
                outcomes.append("done")
            except Problem as problem:
                outcomes.append(problem.slug)

        async with anyio.create_task_group() as tasks:
            for _ in range(running + 4):
                tasks.start_soon(one)
            await anyio.sleep(0.2)
            at_once = len(outcomes)  # beyond the queue: refused without waiting
            await anyio.sleep(1.2)  # in the queue: refused after a second
            release.set()
        assert await gate.run(lambda: 7) == 7  # and all places are free again
        return outcomes, at_once

    outcomes, at_once = anyio.run(burst)
    assert (at_once, outcomes.count("overloaded"), outcomes.count("done")) == (2, 4, running)
