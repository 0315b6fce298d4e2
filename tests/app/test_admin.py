"""Evaluations over HTTP: one at a time, the same digits as `artkin evaluate`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from index.releases import switch
from tests.app.conftest import ADMIN, ROOT, Service, write_synthetic

JOBS = "/v1/admin/evaluations"


def finished(service: Service, location: str, seconds: float = 60) -> dict[str, object]:
    end = time.monotonic() + seconds
    while True:
        job = service.get(location, headers=ADMIN).json()
        if job["status"] in ("done", "failed", "cancelled"):
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
    switch(releases, write_synthetic(releases, tiny_model, works=2500))
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


def test_a_job_is_cancelled(large: Service) -> None:
    running = [job for job in jobs(large) if job["status"] in ("queued", "running")]
    where = f"{JOBS}/{running[0]['id']}"
    cancelled = large.http.delete(large.url + where, headers=ADMIN).json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished"]
    time.sleep(1)
    assert large.get(where, headers=ADMIN).json() == cancelled
    # Cancelled again it stays as it is, and another can be started.
    assert large.http.delete(large.url + where, headers=ADMIN).json() == cancelled
    assert large.post(JOBS, headers=ADMIN).status_code == 202


def test_events_tell_of_progress_until_the_end(large: Service) -> None:
    running = next(job for job in jobs(large) if job["status"] in ("queued", "running"))
    seen = []
    path = f"{large.url}{JOBS}/{running['id']}/events"
    with large.http.stream("GET", path, headers=ADMIN, timeout=120) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
    assert seen[-1]["status"] == "done"
    assert {job["id"] for job in seen} == {running["id"]}
    assert [job["progress"]["step"] for job in seen if job["progress"]]
    again = large.get(f"{JOBS}/{running['id']}/events", headers=ADMIN)
    assert json.loads(again.text.split("data: ")[1]) == seen[-1]


def test_a_listener_does_not_keep_the_service_from_stopping(
    start_service, tiny_model, key_file, tmp_path
) -> None:
    switch(tmp_path / "releases", write_synthetic(tmp_path / "releases", tiny_model, works=4000))
    service = start_service(
        *("--model", tiny_model, "--releases", tmp_path / "releases"),
        *("--admin-key-file", key_file),
    )
    service.wait_for("/readyz", 200)
    where = service.post(JOBS, headers=ADMIN).headers["location"]
    with service.http.stream("GET", f"{service.url}{where}/events", headers=ADMIN) as answer:
        events = answer.iter_lines()
        assert next(events).startswith("event: ")
        assert service.stop() == 0
        assert not any("Traceback" in line for line in service.log)
        list(events)  # ends, and is not cut off


def test_the_list_of_jobs_pages(large: Service) -> None:
    found = jobs(large)
    assert len(found) == 3 or len(found) == 4
    assert [job["created"] for job in found] == sorted((j["created"] for j in found), reverse=True)
    page = large.get("/v1/admin/jobs?limit=1&offset=1", headers=ADMIN).json()
    assert page["total"] == len(found)
    assert page["jobs"] == found[1:2]


def jobs(service: Service) -> list[dict]:
    return service.get("/v1/admin/jobs?limit=100", headers=ADMIN).json()["jobs"]


def test_a_stop_does_not_wait_for_a_job_and_a_start_goes_on_with_it(
    start_service, tiny_model, key_file, tmp_path
) -> None:
    switch(tmp_path / "releases", write_synthetic(tmp_path / "releases", tiny_model, works=2000))
    places = ("--model", tiny_model, "--releases", tmp_path / "releases")
    others = ("--state", tmp_path / "state", "--admin-key-file", key_file)
    for end in ("stop", "kill"):
        service = start_service(*places, *others)
        service.wait_for("/readyz", 200)
        where = service.post(JOBS, headers=ADMIN).headers["location"]
        time.sleep(0.3)
        start = time.monotonic()
        if end == "stop":
            assert service.stop() == 0
        else:
            service.process.kill()
            service.process.wait()
        assert time.monotonic() - start < 10  # before Docker kills what does not stop
        service = start_service(*places, *others)
        service.wait_for("/readyz", 200)
        assert finished(service, where)["status"] == "done"
        service.stop()


# Rebuild, releases, reload, rollback


@pytest.fixture
def own(start_service, tiny_model, key_file, collection, releases, tmp_path) -> Service:
    """A service with releases and a collection of its own."""
    copy = shutil.copytree(collection, tmp_path / "collection")
    service = start_service(
        *("--model", tiny_model, "--releases", releases, "--admin-key-file", key_file),
        *("--collection", copy, "--state", tmp_path / "state"),
    )
    service.wait_for("/readyz", 200)
    return service


def test_a_rebuild_is_published_and_rolled_back(own: Service, tmp_path, releases) -> None:
    before = own.get("/readyz").json()
    removed = sorted((tmp_path / "collection" / "test").rglob("*.png"))[0]
    removed.unlink()
    started = own.post("/v1/admin/rebuilds", headers=ADMIN)
    assert started.status_code == 202
    job = finished(own, started.headers["location"])
    assert job["status"] == "done", job
    reloaded = own.post("/v1/admin/reload", headers=ADMIN).json()
    assert reloaded["index_version"] == job["result"]["release"]
    assert reloaded["works"] == before["works"] - 1
    report = job["result"]
    assert report["differences"] == {
        **{"added": 0, "changed": 0, "moved": 0, "described": 0, "removed": 1}
    }
    assert (report["works"], report["embedded"], report["unusable"]) == (reloaded["works"], 0, {})
    assert (report["is_new"], report["published"], report["dry_run"]) == (True, True, False)
    assert report["verdict"]["against"] == before["index_version"]
    assert all(check["passed"] for check in report["verdict"]["checks"])

    listed = own.get("/v1/admin/releases", headers=ADMIN).json()["releases"]
    assert [(one["id"], one["published"]) for one in listed] == [
        (job["result"]["release"], True),
        (before["index_version"], False),
    ]
    back = own.post("/v1/admin/rollback", headers=ADMIN)
    assert back.json()["index_version"] == before["index_version"]
    assert own.get("/readyz").json() == before
    nothing = own.post("/v1/admin/rollback", headers=ADMIN)
    assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/nothing-before")
    forward = own.post(f"/v1/admin/rollback?release={reloaded['index_version']}", headers=ADMIN)
    assert forward.json() == reloaded
    unknown = own.post("/v1/admin/rollback?release=no-such", headers=ADMIN)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/no-such-release")

    damaged = releases / before["index_version"] / "index.faiss"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    refused = own.post(f"/v1/admin/rollback?release={before['index_version']}", headers=ADMIN)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/release-refused")
    assert own.get("/readyz").json()["index_version"] == reloaded["index_version"]


def test_a_rebuild_that_fails_says_why(own: Service, tmp_path) -> None:
    shutil.rmtree(tmp_path / "collection")
    job = finished(own, own.post("/v1/admin/rebuilds", headers=ADMIN).headers["location"])
    assert job["status"] == "failed"
    assert job["error"].startswith("artkin rebuild: the collection must be a folder")
    assert "Traceback" not in job["error"]


def test_a_rebuild_needs_a_collection(service: Service) -> None:
    answer = service.post("/v1/admin/rebuilds", headers=ADMIN)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-collection")
    assert "--collection DIR" in answer.json()["detail"]
