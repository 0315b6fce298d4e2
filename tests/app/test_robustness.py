"""The short versions of `make chaos`, `make fuzz` and `make soak`."""

from __future__ import annotations

import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import chaos, schema
from benchmarks.robust import family, resident
from index.space.errors import ImageRejected
from index.space.picture_limits import UPLOAD_LIMITS
from index.space.preprocessing import Preprocessing, decode, to_pixels
from tests.app.conftest import Service
from tests.bad_pictures import accepted, encoded, photo, rejected
from tests.releases import make_release


@pytest.fixture
def two_releases(published: Path, collection: Path, tiny_model: Path, tmp_path: Path) -> Path:
    releases = Path(shutil.copytree(published, tmp_path / "releases", symlinks=True))
    time.sleep(1)  # ids sort by second
    make_release(collection, tiny_model, releases)
    return releases


def test_a_killed_publisher_leaves_a_whole_release(two_releases: Path) -> None:
    found = chaos.kills(two_releases, times=6)
    assert (found["kills"], found["torn"]) == (6, 0)


def test_releases_are_swapped_under_load(two_releases: Path, tiny_model: Path) -> None:
    found = chaos.swaps(tiny_model, two_releases, times=4)
    assert (found["errors"], found["backward"]) == (0, 0)
    assert found["asked"] > 4
    assert found["changes_seen"] >= 2


def test_damaged_releases_are_refused(two_releases: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(chaos, "PLACES", 5)
    found = chaos.damage(two_releases, tmp_path / "damaged")
    assert found["tried"] == found["refused"] > 40


def test_no_mutated_upload_breaks_the_decoder() -> None:
    """What `benchmarks/fuzz.py` does with coverage in mind, blindly."""
    rng = random.Random(0)
    seeds = [data for data, _ in rejected().values()] + list(accepted().values())
    seeds = [bytes(data) for data in seeds if 20 < len(data) < 2**16]
    spec = Preprocessing(height=32, width=32)
    refused = 0
    for _ in range(600):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        try:
            to_pixels(decode(bytes(data), UPLOAD_LIMITS), spec)
        except ImageRejected:
            refused += 1
    assert 100 < refused < 600


def test_requests_made_from_the_openapi_document(
    start_service,
    tiny_model: Path,
    releases: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text(schema.KEY)
    places = ("--model", tiny_model, "--releases", releases)
    service = start_service(*places, "--admin-key-file", tmp_path / "key")
    service.wait_for("/readyz", 200)
    printed = schema.run(service.url, 2, schema.KEY, phases="fuzzing")
    assert "passed" in printed
    assert not any("Traceback" in line for line in service.log)


def test_bad_uploads_at_once_leave_the_service_as_it_was(service: Service) -> None:
    uploads = [data for data, _ in rejected().values()] * 3
    before = service.search(encoded(photo(), "PNG")).json()
    with ThreadPoolExecutor(4) as senders:
        statuses = {answer.status_code for answer in senders.map(service.search, uploads)}
    assert statuses <= {415, 422, 503}
    assert service.search(encoded(photo(), "PNG")).json() == before
    assert len(family(service.process.pid)) > 1
    assert resident(service.process.pid) < 2**30
