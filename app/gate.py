"""How much work runs at once, so that a burst is refused early instead of answered late.

Running: as many as cores. Waiting: twice that, for at most a second. Whoever comes beyond gets a
503. Health checks and thumbnails do not pass here, so they are answered however busy the rest is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread

from app import metrics
from app.problems import Problem, unavailable

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_SECONDS = 1.0


class Gate:
    """Runs blocking work in threads, a bounded number at once.

    Args:
        running: pieces of work at once.
        waiting: pieces that may queue, each for at most a second.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._places = anyio.Semaphore(running)
        # Threads of their own: AnyIO's 40 are shared with thumbnails and the page's files.
        self._threads = anyio.CapacityLimiter(running)
        self._max_waiting = waiting

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a thread when its turn comes.

        Raises:
            Problem: 503 `overloaded`, the queue is full or a second has passed.
        """
        with metrics.waiting.track_inprogress():
            await self._take_place()
        try:
            with metrics.running.track_inprogress():
                return await to_thread.run_sync(
                    partial(work, *args, **kwargs), limiter=self._threads
                )
        finally:
            self._places.release()

    async def _take_place(self) -> None:
        try:
            return self._places.acquire_nowait()
        except anyio.WouldBlock:
            if self._places.statistics().tasks_waiting >= self._max_waiting:
                raise _overloaded(f"{self._max_waiting} requests wait already") from None
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise _overloaded(f"waited for {PATIENCE_SECONDS:.0f} s in vain") from None


def _overloaded(why: str) -> Problem:
    return unavailable("overloaded", f"too many requests at once: {why}; try again in a second")
