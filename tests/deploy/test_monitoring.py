"""What `deploy/monitoring` ships, tried with the real promtool and a real Prometheus that reads a
real service under load."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.app.conftest import (  # noqa: F401
    ADMIN,
    Service,
    a_photo,
    key_file,
    releases,
    start_service,
)

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((SHIPPED / "grafana/dashboards/artkin.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(p["title"], target["expr"]) for p in PANELS for target in p["targets"]]
RULES = yaml.safe_load((SHIPPED / "alerts.yml").read_text())["groups"][0]["rules"]
GUIDE = (ROOT / "docs/operating.md").read_text()
METRICS_KEY = "the-key-of-the-metrics-alone"
METRICS = {"Authorization": f"Bearer {METRICS_KEY}"}
WAIT_SECONDS = 120

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are not installed (Debian: apt install prometheus)",
)


def promtool(*arguments: object, **options: Any) -> str:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=SHIPPED, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(found: Callable[[], Any], said: Callable[[], object] = lambda: "") -> Any:
    """What is found, once it is there."""
    end = time.monotonic() + WAIT_SECONDS
    while not (answer := found()):
        assert time.monotonic() < end, said()
        time.sleep(0.2)
    return answer


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, (parameters, answer.text)
        return answer.json()["data"]

    def values(self, query: str) -> list[float]:
        found = self.ask("query", query=query)
        assert found["resultType"] == "vector", query
        return [float(sample["value"][1]) for sample in found["result"]]

    def target(self) -> dict[str, Any]:
        (one,) = until(lambda: self.ask("targets")["activeTargets"])
        return one


def config_of(folder: Path, target: str, key: str) -> Path:
    """The shipped configuration with another target, key file and interval, in a folder."""
    (folder / "metrics.key").write_text(f"{key}\n")
    shutil.copy(SHIPPED / "alerts.yml", folder)
    text = (SHIPPED / "prometheus.yml").read_text()
    for shipped, here in (
        ("serve:8000", target),
        ("/run/secrets/metrics.key", str(folder / "metrics.key")),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ):
        assert text.count(shipped) == 1
        text = text.replace(shipped, here)
    path = folder / "prometheus.yml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def start_prometheus(tmp_path_factory) -> Iterator[Callable[[str, str], Prometheus]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(target: str, key: str) -> Prometheus:
        folder = tmp_path_factory.mktemp("prometheus")
        address = f"127.0.0.1:{free_port()}"
        log = folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *("prometheus", f"--config.file={config_of(folder, target, key)}"),
                    *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"),
                ],
                stderr=file,
                stdout=file,
            )
        started.append(process)

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"http://{address}/-/ready").status_code == 200
            except httpx.TransportError:
                return False

        until(is_ready, log.read_text)
        return Prometheus(f"http://{address}")

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def served(start_service, tiny_model, published, collection, key_file, tmp_path_factory) -> Service:  # noqa: F811
    """A service with keys, whose collection can be rebuilt over HTTP."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(published, folder / "releases", symlinks=True)
    (folder / "metrics").write_text(METRICS_KEY)
    service = start_service(
        *("--model", tiny_model, "--releases", folder / "releases", "--collection", collection),
        *("--admin-key-file", key_file, "--metrics-key-file", folder / "metrics"),
        *("--state", folder / "state"),
    )
    service.wait_for("/readyz", 200)
    return service


@pytest.fixture(scope="module")
def busy(served: Service, a_photo: bytes) -> Iterator[Service]:  # noqa: F811
    """It, with a rebuild done and visitors who go on until the tests are through."""
    assert served.post("/v1/admin/rebuilds", headers=ADMIN).status_code == 202
    over = threading.Event()

    def visit() -> None:
        with httpx.Client(base_url=served.url, timeout=20) as http:
            while not over.wait(0.1):
                http.post("/v1/search", files={"image": a_photo})
                http.post("/v1/search", files={"image": b"no picture"})
                http.get("/v1/items/no-such-work")

    visitors = threading.Thread(target=visit)
    visitors.start()
    yield served
    over.set()
    visitors.join()


@pytest.fixture(scope="module")
def prometheus(start_prometheus, busy: Service) -> Prometheus:
    return start_prometheus(busy.url.removeprefix("http://"), METRICS_KEY)


@needs_prometheus
def test_promtool_takes_configuration_and_rules(tmp_path: Path) -> None:
    config = config_of(tmp_path, "serve:8000", METRICS_KEY)
    assert f"{len(RULES)} rules found" in promtool("check", "config", config)
    promtool("check", "config", "--syntax-only", SHIPPED / "prometheus.yml")
    promtool("check", "rules", "alerts.yml")


@needs_prometheus
def test_each_alert_fires_when_it_should_and_else_not() -> None:
    files = ["alerts_test.yml", "alerts_days_test.yml"]
    promtool("test", "rules", *files)
    fired = "".join((SHIPPED / name).read_text() for name in files)
    names = set(re.findall(r'labels: .\{alertname="(\w+)"', fired))
    assert names == {rule["alert"] for rule in RULES}


@needs_prometheus
def test_promtool_finds_no_fault_with_the_metrics(busy: Service) -> None:
    promtool("check", "metrics", input=busy.get("/metrics", headers=METRICS).text)


@needs_prometheus
def test_every_query_of_the_dashboard_returns_data_under_load(prometheus: Prometheus) -> None:
    assert len(QUERIES) > 20
    waiting = dict.fromkeys(QUERIES)

    def all_answered() -> bool:
        for title, query in list(waiting):
            asked = query.replace("$__rate_interval", "20s")
            assert "$" not in asked, title
            if any(map(math.isfinite, prometheus.values(asked))):
                del waiting[title, query]
        return not waiting

    until(all_answered, lambda: list(waiting))


@needs_prometheus
def test_what_alerts_ask_for_is_there(prometheus: Prometheus, busy: Service) -> None:
    assert until(lambda: prometheus.values('up{job="artkin"}')) == [1]
    for rule in RULES:
        # With its labels, which a series must have from the start for its first increase to count.
        asked = re.findall(r"\b(?:up|(?:artkin|process)_\w+)\b(?:\{[^}]*\})?", rule["expr"])
        assert asked, rule["alert"]
        for series in asked:
            assert until(lambda series=series: prometheus.values(f"count({series})")), series


@needs_prometheus
def test_prometheus_has_taken_up_the_rules(prometheus: Prometheus) -> None:
    (group,) = prometheus.ask("rules")["groups"]
    until(lambda: all(r["health"] == "ok" for r in prometheus.ask("rules")["groups"][0]["rules"]))
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in RULES]
    for rule in group["rules"]:
        name, told = rule["name"], rule["annotations"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert told["summary"]
        assert told["description"]
        assert told["runbook"] == f"docs/operating.md#{name.lower()}"
        assert f"\n#### {name}\n" in GUIDE


@needs_prometheus
def test_with_a_wrong_key_the_service_counts_as_down(start_prometheus, busy: Service) -> None:
    prometheus = start_prometheus(busy.url.removeprefix("http://"), "another-key-0123456789")
    until(lambda: prometheus.target()["health"] == "down", prometheus.target)
    assert "401" in prometheus.target()["lastError"]
    assert until(lambda: prometheus.values('up{job="artkin"}')) == [0]
    assert prometheus.values("artkin_ready") == []


def test_the_dashboard_is_as_grafana_wants_it() -> None:
    source = yaml.safe_load((SHIPPED / "grafana/datasources/prometheus.yml").read_text())
    uid = source["datasources"][0]["uid"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", DASHBOARD["uid"])
    assert DASHBOARD["schemaVersion"] >= 39  # Grafana 11
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        fields = {
            (at["x"] + across, at["y"] + down)
            for across in range(at["w"])
            for down in range(at["h"])
        }
        assert not taken & fields, panel["title"]
        taken |= fields
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": uid}, panel["title"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_the_guide_names_every_metric(served: Service) -> None:
    text = served.get("/metrics", headers=METRICS).text
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert "artkin_works" in families
    for name, kind in families.items():
        exposed = f"{name}_total" if kind == "counter" else name
        assert f"`{exposed}`" in GUIDE, exposed
    named = set(re.findall(r"^\| `(artkin_\w+)`", GUIDE, re.MULTILINE))
    assert named == {
        f"{name}_total" if kind == "counter" else name
        for name, kind in families.items()
        if name.startswith("artkin_")
    }
