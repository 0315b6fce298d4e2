"""What Prometheus and a collector of logs read."""

from __future__ import annotations

import json
import time

from prometheus_client.parser import text_string_to_metric_families

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
