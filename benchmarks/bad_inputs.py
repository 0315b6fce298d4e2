"""Every bad upload of the hardening table fifty times, at once from four senders.

    python -m benchmarks.bad_inputs MODEL RELEASES

Writes `benchmarks/results/bad_inputs.json`: answers by status, server faults, processes that were
replaced, time to a refusal, the most memory that service and decoders held together.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from benchmarks import command
from benchmarks.robust import milliseconds, resident, service, write
from tests.bad_pictures import accepted, rejected

TIMES = 50
SENDERS = 4


def main() -> None:
    """Send, count, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("releases", type=command.releases)
    options = parser.parse_args()
    uploads = [data for data, _ in rejected().values()] + list(accepted().values())
    refusals: list[float] = []
    statuses: Counter[int] = Counter()
    memory: list[int] = []
    stop = threading.Event()
    with service(options.model, options.releases) as running, httpx.Client(timeout=60) as client:

        def send(picture: bytes) -> None:
            begun = time.monotonic()
            answer = client.post(f"{running.url}/v1/search", files={"image": picture})
            statuses[answer.status_code] += 1
            if answer.status_code in (400, 413, 415, 422):
                refusals.append(time.monotonic() - begun)

        def watch() -> None:
            while not stop.is_set():
                memory.append(resident(running.process.pid))
                time.sleep(0.05)

        watching = threading.Thread(target=watch)
        watching.start()
        with ThreadPoolExecutor(SENDERS) as senders:
            list(senders.map(send, uploads * TIMES))
        stop.set()
        watching.join()
        alive = running.process.poll() is None
    result = {
        "uploads": len(uploads) * TIMES,
        "statuses": dict(sorted(statuses.items())),
        "server_faults": sum(
            n for status, n in statuses.items() if status >= 500 and status != 503
        ),
        "alive_at_the_end": alive,
        "refusal_ms": milliseconds(refusals),
        "most_memory_mib": max(memory) >> 20,
    }
    write(
        "bad_inputs", f"python -m benchmarks.bad_inputs {options.model} {options.releases}", result
    )


if __name__ == "__main__":
    command.run(main)
