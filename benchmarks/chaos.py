"""Publishing is killed, release files are damaged, releases are swapped under load.

    python -m benchmarks.chaos MODEL COLLECTION [--kills 500] [--swaps 200]

Writes `benchmarks/results/chaos.json`. Kills: after each SIGKILL of a process that publishes one of
two releases after the other, `current` must open, verified. Damage: each file of a release, cut at
fifty places and with a byte flipped at fifty, must be refused. Swaps: while pictures are asked,
each answer must come from one release and never from one before that of the answer before it.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks import command
from benchmarks.robust import milliseconds, service, write
from index.publish import publish
from index.release import open_release
from index.releases import current_release, release_ids
from index.space.errors import ArtefactError
from tests.app.conftest import Service
from tests.bad_pictures import encoded, photo
from tests.releases import make_release

PLACES = 50
# Publishes all releases in turn, for ever; says when it begins.
PUBLISHER = """
import sys
from pathlib import Path
from index.publish import publish
from index.releases import release_ids
releases = Path(sys.argv[1])
print("begun", flush=True)
while True:
    for id_ in release_ids(releases):
        publish(releases, id_)
"""


def main() -> None:
    """Break things, count, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("collection", type=command.folder)
    parser.add_argument("--kills", type=command.count, default=500)
    parser.add_argument("--swaps", type=command.count, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        releases = Path(folder) / "releases"
        for _ in range(2):
            make_release(options.collection, options.model, releases)
        publish(releases)
        result = {
            "kills": kills(releases, options.kills),
            "damage": damage(releases, Path(folder) / "damaged"),
            "swaps": swaps(options.model, releases, options.swaps),
        }
    called = f"python -m benchmarks.chaos {options.model} {options.collection}"
    counts = f"--kills {options.kills} --swaps {options.swaps}"
    write("chaos", f"{called} {counts}", result)


def kills(releases: Path, times: int) -> dict[str, Any]:
    """SIGKILL at random moments of publishing."""
    rng, torn, seen = random.Random(0), 0, set()  # noqa: S311
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(releases)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.wait()
        process.stdout.close()
        try:
            folder = current_release(releases)
            open_release(folder).close()
            seen.add(folder.name)
        except ArtefactError as error:
            torn += 1
            print(error)
    left = [path.name for path in releases.iterdir() if path.name.startswith(".")]
    return {"kills": times, "torn": torn, "releases_seen": len(seen), "links_left": len(left)}


def damage(releases: Path, copy: Path) -> dict[str, Any]:
    """Cut and flip every file of a release."""
    rng, tried, refused = random.Random(0), 0, 0  # noqa: S311
    source = releases / release_ids(releases)[0]
    folder = Path(shutil.copytree(source, copy / source.name))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for number in range(2 * PLACES):
            at = rng.randrange(len(whole))
            flipped = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
            path.write_bytes(whole[:at] if number < PLACES else flipped)
            tried += 1
            try:
                open_release(folder).close()
                print(f"taken: {path.name}, {'cut' if number < PLACES else 'flipped'} at {at}")
            except ArtefactError:
                refused += 1
        path.write_bytes(whole)
    open_release(folder).close()
    return {"tried": tried, "refused": refused}


def swaps(model: Path, releases: Path, times: int) -> dict[str, Any]:
    """Publish releases in turn while pictures are asked."""
    picture = encoded(photo(), "JPEG")
    with service(model, releases) as running:
        still = _ask_for(running, picture, 10.0)
        answers: list[tuple[float, httpx.Response]] = []
        stop = threading.Event()
        asking = threading.Thread(target=_ask, args=(running, picture, stop, answers))
        asking.start()
        published: list[str] = []
        for number in range(times):
            published.append(publish(releases, release_ids(releases)[number % 2]).id)
            running.wait_for("/readyz", 200)
            end = time.monotonic() + 10
            while running.get("/readyz").json()["index_version"] != published[-1]:
                assert time.monotonic() < end
                time.sleep(0.05)
        stop.set()
        asking.join()
    versions = [answer.json().get("index_version") for _, answer in answers]
    changes = sum(one != other for one, other in pairwise(versions))
    return {
        "swaps": times,
        "asked": len(answers),
        "errors": sum(answer.status_code != 200 for _, answer in answers),
        # Each swap shows as one change and no more: no answer comes from the release before.
        "changes_seen": changes,
        "backward": max(0, changes - times),
        "ms_without_swaps": milliseconds(still),
        "ms_with_swaps": milliseconds([seconds for seconds, _ in answers]),
    }


def _ask_for(running: Service, picture: bytes, seconds: float) -> list[float]:
    answers: list[tuple[float, httpx.Response]] = []
    stop = threading.Event()
    asking = threading.Thread(target=_ask, args=(running, picture, stop, answers))
    asking.start()
    time.sleep(seconds)
    stop.set()
    asking.join()
    return [seconds for seconds, _ in answers]


def _ask(
    running: Service,
    picture: bytes,
    stop: threading.Event,
    answers: list[tuple[float, httpx.Response]],
) -> None:
    with httpx.Client(timeout=60) as client:
        while not stop.is_set():
            begun = time.monotonic()
            answer = client.post(f"{running.url}/v1/search", files={"image": picture})
            answers.append((time.monotonic() - begun, answer))


if __name__ == "__main__":
    command.run(main)
