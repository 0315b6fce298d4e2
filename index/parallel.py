"""A map over threads that keeps order and looks only so far ahead, so that memory stays flat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def parallel_map(
    function: Callable[[T], R], items: Iterable[T], workers: int = 2, ahead: int = 32
) -> Iterator[R]:
    """Yield `function(item)` in order, at most `ahead` results computed and not yet taken.

    `ThreadPoolExecutor.map` submits everything at once before Python 3.14's `buffersize`.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
