"""What Prometheus and a collector of logs read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime

from prometheus_client.parser import text_string_to_metric_families

from index.changes import Changes
from index.rebuild import rebuild
from index.release import manifest_of
from index.releases import current_release, switch
from index.source import Source
from index.space.model import load_model
from tests.app.conftest import ADMIN, Service


def samples(service: Service) -> dict[tuple[str, ...], float]:
    answer = service.get("/metrics", headers=ADMIN)
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_searches_are_counted_and_timed_by_stage(service: Service, a_photo: bytes) -> None:
    before = samples(service)
    found = [service.search(a_photo).json() for _ in range(3)]
    service.search(b"no picture")
    id_ = found[0]["results"][0]["id"]
    service.get(f"/v1/items/{id_}")
    after = samples(service)

    def grown(*name: str) -> float:
        return after[name] - before.get(name, 0)

    # decode and read tried a fourth picture.
    counts = {
        stage: grown("artkin_stage_seconds_count", stage)
        for stage in ("read", "decode", "embed", "search")
    }
    assert counts == {"read": 4, "decode": 4, "embed": 3, "search": 3}
    assert grown("artkin_request_seconds_count", "POST", "/v1/search", "200") == 3
    assert grown("artkin_request_seconds_count", "GET", "/v1/items/{id}", "200") == 1
    assert grown("artkin_refusals_total", "unsupported-image") == 1
    assert grown("artkin_nearest_score_count") == 3
    assert after["artkin_works",] == 24
    assert after["artkin_queue_running",] == 0
    assert ("artkin_serving_info", found[0]["index_version"], "tiny-1") in after
    assert not any(id_ in label for name in after for label in name)


def until(service: Service, condition: Callable[[dict], bool]) -> dict[tuple[str, ...], float]:
    """The metrics, once they say that."""
    end = time.monotonic() + 30
    while not condition(found := samples(service)):
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def test_what_is_served_and_what_came_of_rebuilds(
    start_service, tiny_model, releases, collection, tmp_path
) -> None:
    state = tmp_path / "state"
    current = current_release(releases)
    (releases / "current").rename(tmp_path / "current")
    service = start_service("--model", tiny_model, "--releases", releases, "--state", state)
    service.wait_for_log("not ready")
    found = until(service, lambda all_: all_["artkin_release_refused",] == 1)
    assert found["artkin_ready",] == 0
    (tmp_path / "current").rename(releases / "current")
    service.wait_for("/readyz", 200)
    found = until(service, lambda all_: all_["artkin_ready",] == 1)
    assert found["artkin_release_refused",] == 0
    created = datetime.fromisoformat(manifest_of(current).created).timestamp()
    assert found["artkin_release_created_timestamp_seconds",] == created
    assert found["artkin_rebuild_succeeded_timestamp_seconds",] == 0
    assert found["artkin_changes_waiting",] == 0
    changes = Changes(state / "changes")
    for work in service.get("/v1/items?limit=2").json()["results"]:
        changes.remove(work["id"])
    found = until(service, lambda all_: all_["artkin_changes_waiting",] == 2)
    assert found["artkin_works",] == 22
    started = int(time.time())
    rebuild(Source([collection], state=state), load_model(tiny_model), releases)
    found = until(service, lambda all_: all_["artkin_changes_waiting",] == 0)
    assert found["artkin_works",] == 22
    found = until(service, lambda all_: all_["artkin_rebuild_succeeded_timestamp_seconds",] > 0)
    assert found["artkin_rebuild_ended_timestamp_seconds",] >= started
    switch(releases, "20200101T000000Z-dead")
    found = until(service, lambda all_: all_["artkin_release_refused",] == 1)
    assert found["artkin_ready",] == 1


def test_nobody_can_make_up_series(service: Service) -> None:
    for name in ("BREW", "PROPFIND"):
        service.http.request(name, f"{service.url}/v1/search")
    series = {name[1:] for name in samples(service) if name[0] == "artkin_request_seconds_count"}
    assert ("other", "-", "405") in {(method, "-", status) for method, _, status in series}
    assert not {method for method, _, _ in series} & {"BREW", "PROPFIND"}


def test_pictures_of_a_batch_are_counted_when_refused(service: Service, a_photo: bytes) -> None:
    before = samples(service)
    files = [("image", a_photo), ("image", b"no picture"), ("image", b"")]
    assert service.post("/v1/search/batch", files=files).status_code == 200
    after = samples(service)
    for reason in ("unsupported-image", "empty-file"):
        name = ("artkin_refusals_total", reason)
        assert after[name] - before.get(name, 0) == 1
    assert after["artkin_decoders_resident_memory_bytes",] > 2**20
    assert after["process_resident_memory_bytes",] > 2**20


def test_a_request_is_one_json_object(start_service, tiny_model, published, a_photo) -> None:
    service = start_service("--model", tiny_model, "--releases", published, "--log", "json")
    service.wait_for("/readyz", 200)
    answer = service.search(a_photo)
    secret = "a-name-that-nobody-need-know"
    service.get("/v1/items", params={"q": secret})
    time.sleep(0.3)
    service.stop()
    lines = [json.loads(line) for line in service.log]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    requests = [line for line in lines if line["logger"] == "app.requests"]
    assert [(line["method"], line["route"], line["status"]) for line in requests] == [
        ("POST", "/v1/search", 200),
        ("GET", "/v1/items", 200),
    ]
    assert requests[0]["request_id"] == answer.headers["x-request-id"]
    assert requests[0]["ms"] > 0
    assert not any(secret in line or "127.0.0.1" in line for line in map(str, requests))
