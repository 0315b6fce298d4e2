"""Uploaded pictures are decoded in processes of their own, with little time and memory.

Decoders are where a crafted file does its harm: a process that takes too long is killed, one that
wants too much memory or crashes is replaced, and the service answers on. The processes are
spawned, not forked (FAISS and OpenVINO hang in a forked child), and import neither.
"""

from __future__ import annotations

import io
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as TooSlow
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool
from PIL import Image

from app.decoder_process import limit, pixels_of
from app.options import Box
from app.problems import Problem, unavailable
from index.space.errors import ImageRejected
from index.space.preprocessing import Preprocessing

# The slowest pictures within the limits take 0.8 s on a busy core; the largest, 25 megapixels with
# 16 bits or with transparency, need between 0.64 and 0.77 GB of addresses.
SECONDS = 2.0
MEMORY = 2**30
# After this long no further picture of a batch is begun, so that it is answered within the grace.
DRAIN_SECONDS = 2.5
_LOOK_SECONDS = 0.5


class Decoder:
    """Decodes in other processes; usable from several threads.

    Args:
        processes: pictures at once.
        stopping: whether the service has been told to stop.
    """

    def __init__(self, processes: int, stopping: Callable[[], bool] = lambda: False) -> None:
        self._processes = processes
        self._stopping = stopping
        self._stops_at: float | None = None
        self._pool = _pool(processes)
        self._lock = threading.Lock()

    def pixels(
        self, picture: bytes, spec: Preprocessing, box: Box | None = None
    ) -> NDArray[np.uint8]:
        """The model's pixels of an uploaded picture or of a region of it.

        Returns:
            uint8 (height, width, 3).

        Raises:
            ImageRejected: it cannot be decoded, or not within the limits of time and memory.
            Problem: 503 `draining`, of a batch too long to be answered before the service stops.
        """
        self._refuse_if_draining()
        pool = self._pool
        try:
            return self._decoded(pool, picture, spec, box)
        except RuntimeError:
            if pool.active:
                raise
            if self._stopping():
                raise _draining() from None
            # All its processes were killed from outside while none of them was at work.
            with self._lock:
                if self._pool is pool:
                    self._pool = _pool(self._processes)
            return self._decoded(self._pool, picture, spec, box)

    def _decoded(
        self, pool: ProcessPool, picture: bytes, spec: Preprocessing, box: Box | None
    ) -> NDArray[np.uint8]:
        try:
            task = pool.schedule(pixels_of, [picture, spec, box], timeout=SECONDS)
            found: NDArray[np.uint8] = self._result(task)
        except TooSlow as error:
            reason = f"a picture must be decoded within {SECONDS:g} s; this one was not"
            raise ImageRejected("too-slow-to-decode", reason) from error
        except (MemoryError, ProcessExpired) as error:
            reason = f"a picture must be decoded within {MEMORY >> 20} MiB; this one was not"
            raise ImageRejected("too-much-memory", reason) from error
        return found

    def _result(self, task: Any) -> Any:
        """A task's result; the pool forgets the tasks it has when it is stopped."""
        while True:
            try:
                return task.result(timeout=_LOOK_SECONDS)
            except TooSlow:
                if task.done():
                    return task.result()
                if not self._pool.active and self._stopping():
                    raise _draining() from None

    def _refuse_if_draining(self) -> None:
        if self._stopping():
            now = time.monotonic()
            self._stops_at = self._stops_at or now + DRAIN_SECONDS
            if now > self._stops_at:
                raise _draining()

    def start(self) -> None:
        """Start the processes, so that the first visitor need not wait for them."""
        file = io.BytesIO()
        Image.linear_gradient("L").save(file, "PNG")
        spec = Preprocessing(height=32, width=32)
        for _ in range(self._processes):
            self._pool.schedule(pixels_of, [file.getvalue(), spec, None])

    def stop(self) -> None:
        """End the processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def _draining() -> Problem:
    return unavailable("draining", "the service is being stopped; ask again in a moment")


def _pool(processes: int) -> ProcessPool:
    return ProcessPool(
        processes,
        initializer=limit,
        initargs=[MEMORY],
        context=multiprocessing.get_context("spawn"),
    )
