"""A service asked for half, once, twice and five times what it can do.

    python -m benchmarks.overload MODEL RELEASES PICTURE

Capacity is what eight senders get that ask again as soon as they are answered. Then pictures come
at a steady rate, whether or not those before them have been answered, twenty seconds each. Writes
`benchmarks/results/overload.json`: answers a second, times of answers, of refusals and of health
checks in milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from benchmarks import command
from benchmarks.robust import milliseconds, service, write

SECONDS = 20.0
LOADS = (0.5, 1.0, 2.0, 5.0)


def main() -> None:
    """Measure, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("releases", type=command.releases)
    parser.add_argument("picture", type=command.file)
    options = parser.parse_args()
    picture = options.picture.read_bytes()
    with service(options.model, options.releases) as running:
        result = asyncio.run(_measure(running.url, picture))
    places = f"{options.model} {options.releases} {options.picture}"
    write("overload", f"python -m benchmarks.overload {places}", result)


async def _measure(url: str, picture: bytes) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=2000)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        capacity = await _capacity(client, picture)
        loads = {f"{load:g}": await _at(client, picture, capacity * load) for load in LOADS}
    return {"capacity_a_second": round(capacity, 1), "at_times_capacity": loads}


async def _capacity(client: httpx.AsyncClient, picture: bytes) -> float:
    end, answered = time.monotonic() + SECONDS, 0

    async def sender() -> None:
        nonlocal answered
        while time.monotonic() < end:
            answer = await client.post("/v1/search", files={"image": picture})
            answered += answer.status_code == 200
            if answer.status_code == 503:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(sender() for _ in range(8)))
    return answered / SECONDS


async def _at(client: httpx.AsyncClient, picture: bytes, rate: float) -> dict[str, Any]:
    times: dict[int, list[float]] = {}
    health: list[float] = []

    async def ask() -> None:
        begun = time.monotonic()
        answer = await client.post("/v1/search", files={"image": picture})
        times.setdefault(answer.status_code, []).append(time.monotonic() - begun)

    async def watch() -> None:
        while True:
            begun = time.monotonic()
            answer = await client.get("/healthz")
            health.append(time.monotonic() - begun)
            assert answer.status_code == 200
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    asked, begun = [], time.monotonic()
    for number in range(int(rate * SECONDS)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        asked.append(asyncio.create_task(ask()))
    await asyncio.gather(*asked)
    seconds = time.monotonic() - begun
    watching.cancel()
    return {
        "asked_a_second": round(rate, 1),
        "answered_a_second": round(len(times.get(200, [])) / seconds, 1),
        "answers_ms": milliseconds(times.get(200, [])),
        "refusals_ms": milliseconds(times.get(503, [])),
        "other_statuses": sorted(set(times) - {200, 503}),
        "health_ms": milliseconds(health),
    }


if __name__ == "__main__":
    command.run(main)
