"""Hours of mixed requests: does the service grow?

    python -m benchmarks.soak MODEL RELEASES [--minutes 120]

Pictures good and bad, lists, neighbours, works added and taken down again, some ten requests a
second: the time counts, not the load. Writes
`benchmarks/results/soak.json`: memory, threads and open files a minute, and their slopes an hour
after the first tenth of the time.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks import command
from benchmarks.robust import family, resident, service, write
from tests.bad_pictures import accepted, encoded, photo, rejected

PAUSE = 0.2
KEY = "a-key-of-the-soak-0123456789"


def main() -> None:
    """Ask, sample, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("releases", type=command.releases)
    parser.add_argument("--minutes", type=command.minutes, default=120)
    options = parser.parse_args()
    rng = random.Random(0)  # noqa: S311
    admin = {"Authorization": f"Bearer {KEY}"}
    pictures = [encoded(photo(200 + 40 * n, 300), "JPEG") for n in range(20)]
    pictures += [data for data, _ in rejected().values()] + list(accepted().values())
    statuses: Counter[int] = Counter()
    samples: list[tuple[float, int, int, int]] = []
    with tempfile.NamedTemporaryFile("w") as key:
        key.write(KEY)
        key.flush()
        with service(options.model, options.releases, "--admin-key-file", key.name) as running:
            begun = sampled = time.monotonic()
            end = begun + 60 * options.minutes
            number = 0
            while time.monotonic() < end:
                number += 1
                answer = running.search(rng.choice(pictures), k=rng.randint(1, 100))
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    id_ = answer.json()["results"][0]["id"]
                    for path in (f"/v1/items/{id_}/similar?diversity=0.5", "/v1/facets"):
                        statuses[running.get(path).status_code] += 1
                if number % 20 == 0:
                    added = running.post(
                        *("/v1/admin/items",),
                        params={"id": f"soak {number}"},
                        files={"image": pictures[0]},
                        headers=admin,
                    )
                    gone = running.http.delete(
                        f"{running.url}/v1/admin/items/soak {number}", headers=admin
                    )
                    statuses.update([added.status_code, gone.status_code])
                time.sleep(PAUSE)
                if time.monotonic() - sampled > 10:
                    sampled = time.monotonic()
                    samples.append((sampled - begun, *_sample(running.process.pid)))
    steady = np.array(samples[len(samples) // 10 :])
    slopes = [np.polyfit(steady[:, 0] / 3600, steady[:, column], 1)[0] for column in (1, 2, 3)]
    write(
        "soak",
        f"python -m benchmarks.soak {options.model} {options.releases} "
        f"--minutes {options.minutes:g}",
        {
            "requests": sum(statuses.values()),
            "statuses": dict(sorted(statuses.items())),
            "memory_mib": [round(row[1] / 2**20) for row in samples[:: max(1, len(samples) // 12)]],
            "memory_mib_an_hour": round(slopes[0] / 2**20, 2),
            "threads": [samples[0][2], samples[-1][2]],
            "open_files": [samples[0][3], samples[-1][3]],
            "threads_an_hour": round(slopes[1], 2),
            "open_files_an_hour": round(slopes[2], 2),
        },
    )


def _sample(pid: int) -> tuple[int, int, int]:
    processes = family(pid)
    threads = sum(len(list(Path(f"/proc/{one}/task").iterdir())) for one in processes)
    files = sum(len(list(Path(f"/proc/{one}/fd").iterdir())) for one in processes)
    return resident(pid), threads, files


if __name__ == "__main__":
    command.run(main)
