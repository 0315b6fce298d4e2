"""Evaluations over HTTP: one at a time, the same digits as `artkin evaluate`."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from index.release import switch
from tests.app.conftest import ADMIN, ROOT, Service, write_synthetic

JOBS = "/v1/admin/evaluations"


def finished(service: Service, location: str, seconds: float = 60) -> dict[str, object]:
    end = time.monotonic() + seconds
    while True:
        job = service.get(location, headers=ADMIN).json()
        if job["status"] in ("done", "failed"):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.05)


def test_an_evaluation_gives_the_digits_of_the_command(
    service: Service, published, tiny_model
) -> None:
    answer = service.post(JOBS, headers=ADMIN)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{JOBS}/{answer.json()['id']}"
    job = finished(service, answer.headers["location"])
    options = ["--releases", str(published), "--model", str(tiny_model), "--json"]
    command = [sys.executable, "-m", "artkin", "evaluate", *options]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert job["status"] == "done"
    assert job["result"] == json.loads(printed)
    assert job["result"]["unseen"]["works"] == 12
    assert job["result"]["robustness"]["works"] == 12
    assert (job["error"], job["index_version"]) == (None, job["result"]["release"])


@pytest.mark.parametrize(
    ("path", "options", "slug", "said"),
    [
        (f"{JOBS}?k=3", {}, "invalid-parameter", "k: "),
        (JOBS, {"json": {"k": 3}}, "unexpected-body", "takes no body; received 7 bytes"),
    ],
)
def test_what_would_be_ignored_is_refused(service: Service, path, options, slug, said) -> None:
    answer = service.post(path, headers=ADMIN, **options)
    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{slug}")
    assert said in answer.json()["detail"]


def test_unknown_jobs_are_not_found(service: Service) -> None:
    answer = service.get(f"{JOBS}/nope", headers=ADMIN)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-such-job")


@pytest.fixture(scope="module")
def large(start_service, tiny_model, key_file, tmp_path_factory) -> Service:
    """A service whose evaluation takes seconds."""
    releases = tmp_path_factory.mktemp("large")
    switch(releases, write_synthetic(releases, tiny_model, works=4000))
    service = start_service(
        "--model", tiny_model, "--releases", releases, "--admin-key-file", key_file
    )
    service.wait_for("/readyz", 200)
    return service


def test_one_evaluation_at_a_time_and_health_answers_meanwhile(large: Service, a_photo) -> None:
    first = large.post(JOBS, headers=ADMIN)
    second = large.post(JOBS, headers=ADMIN)
    assert (first.status_code, second.status_code) == (202, 409)
    assert second.json()["type"] == "/problems/evaluation-running"
    assert second.headers["location"] == first.headers["location"]
    alive, status = 0, "queued"
    while status in ("queued", "running"):
        assert large.get("/healthz").status_code == 200
        alive += 1
        status = large.get(first.headers["location"], headers=ADMIN).json()["status"]
        assert large.search(a_photo).status_code == 200
    assert status == "done"
    assert alive > 5
    assert large.post(JOBS, headers=ADMIN).status_code == 202


def test_a_stop_does_not_wait_for_an_evaluation(large: Service) -> None:
    large.post(JOBS, headers=ADMIN)
    time.sleep(0.3)
    start = time.monotonic()
    assert large.stop() == 0
    assert time.monotonic() - start < 10  # before Docker kills what does not stop
