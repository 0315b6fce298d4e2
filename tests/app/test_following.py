"""The service follows `current`: ready by itself, swapped whole, a broken release refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from index.publish import publish
from index.release import INDEX, ReleaseManifest, current_release, switch
from index.space.artefact import read_manifest, write_manifest
from tests.app.conftest import Service, Starter, write_synthetic
from tests.releases import make_release


@pytest.fixture
def serving(start_service: Starter, tiny_model: Path, releases: Path) -> Service:
    """A ready service over a releases folder that the test may change."""
    service = start_service("--model", tiny_model, "--releases", releases)
    service.wait_for("/readyz", 200)
    return service


def damage_later(releases: Path, tiny_model: Path, change: str) -> str:
    """A new release, published and then damaged or foreign; returns its id."""
    id_ = write_synthetic(releases, tiny_model, works=30)
    folder = releases / id_
    if change == "flipped byte":
        data = bytearray((folder / INDEX).read_bytes())
        data[-40] ^= 1
        (folder / INDEX).write_bytes(data)
        return id_
    manifest = read_manifest(folder, ReleaseManifest, "release", "artkin index")
    foreign = {"model_digest": "0" * 64} if change == "model" else {"precision": "bf16"}
    write_manifest(folder, manifest.model_copy(update=foreign))
    return id_


def test_ready_by_itself_when_model_and_release_come(
    start_service: Starter, tiny_model: Path, collection: Path, tmp_path: Path, a_photo: bytes
) -> None:
    model, releases = tmp_path / "model", tmp_path / "releases"
    service = start_service("--model", model, "--releases", releases)
    assert service.get("/healthz").json() == {"status": "alive"}
    service.wait_for_log("not ready: nothing is published")
    answer = service.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "/problems/not-ready"
    assert f"`artkin publish --releases {releases}`" in answer.json()["detail"]
    assert service.search(a_photo).status_code == 503
    publish(releases, make_release(collection, tiny_model, releases))
    service.wait_for_log("`artkin export RUN --to MODEL`")
    assert "is not a model" in service.get("/readyz").json()["detail"]
    shutil.copytree(tiny_model, model)
    assert service.wait_for("/readyz", 200, seconds=5).json()["works"] == 24
    assert service.search(a_photo).status_code == 200
    assert service.stop() == 0


def test_without_a_model_the_reason_is_given(start_service: Starter, published: Path) -> None:
    service = start_service("--releases", published)
    service.wait_for_log("not ready")
    assert "`artkin serve --model DIR`" in service.get("/readyz").json()["detail"]
    service.stop()


def test_a_switch_is_followed_whole(
    serving: Service, releases: Path, tiny_model: Path, a_photo: bytes
) -> None:
    old = current_release(releases).name
    new = write_synthetic(releases, tiny_model, works=300)
    versions: list[str] = []
    switched_at = followed_after = None
    while followed_after is None or len(versions) < 60:
        answer = serving.search(a_photo)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        version = document["index_version"]
        # Ids of the new release are w0, w1, ...; a mixed answer would have others.
        assert all((work["id"][0] == "w") == (version == new) for work in document["results"])
        versions.append(version)
        if switched_at is None and len(versions) == 10:
            switch(releases, new)
            switched_at = time.monotonic()
        if followed_after is None and version == new and switched_at is not None:
            followed_after = time.monotonic() - switched_at
    assert followed_after < 2
    assert versions == sorted(versions, key=[old, new].index)  # never back
    assert serving.get("/readyz").json()["works"] == 300


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("flipped byte", "SHA-256 differs"),
        ("model", "was made by another model"),
        ("precision", "was embedded in bf16"),
    ],
)
def test_a_bad_release_is_refused_and_the_old_one_serves_on(
    serving: Service, releases: Path, tiny_model: Path, a_photo: bytes, change: str, why: str
) -> None:
    old = current_release(releases).name
    switch(releases, damage_later(releases, tiny_model, change))
    serving.wait_for_log(why)
    assert any(f"refused, release {old} serves on" in line for line in serving.log)
    assert serving.get("/readyz").json()["index_version"] == old
    assert serving.search(a_photo).json()["index_version"] == old
    serving.process.kill()


def test_a_bad_release_at_the_start_is_not_served(
    start_service: Starter, tiny_model: Path, releases: Path
) -> None:
    good = current_release(releases).name
    switch(releases, damage_later(releases, tiny_model, "model"))
    service = start_service("--model", tiny_model, "--releases", releases)
    service.wait_for_log("not ready")
    assert "was made by another model" in service.get("/readyz").json()["detail"]
    switch(releases, good)
    service.wait_for("/readyz", 200, seconds=5)
    service.stop()


def test_the_disk_may_go_away_and_come_back(serving: Service, releases: Path, a_photo) -> None:
    away = releases.with_name("away")
    releases.rename(away)
    serving.wait_for_log("nothing is published")
    assert serving.search(a_photo).status_code == 200
    assert serving.get("/readyz").status_code == 200
    away.rename(releases)
    time.sleep(1.5)
    assert sum("ready on" in line for line in serving.log) == 1  # not loaded again
    assert serving.stop() == 0
