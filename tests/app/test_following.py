"""The service follows `current`: ready by itself, swapped whole, a broken release refused."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from index.publish import publish
from index.release import INDEX, ReleaseManifest
from index.releases import current_release, switch
from index.rollback import roll_back
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


@pytest.fixture
def models(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with the model tiny-1 in it."""
    shutil.copytree(tiny_model, tmp_path / "models" / "tiny-1")
    return tmp_path / "models"


@pytest.fixture
def with_models(start_service: Starter, models: Path, releases: Path) -> Iterator[Service]:
    """A ready service that was given models/tiny-1."""
    service = start_service("--model", models / "tiny-1", "--releases", releases)
    service.wait_for("/readyz", 200)
    yield service
    service.stop()


# Numbers in the vectors of each model.
NUMBERS = {"tiny-1": 16, "tiny-2": 24}


class Asking:
    """Asks a service all the while, in several ways; every answer must be right, and whole.

    Args:
        made: the model of each release.
    """

    def __init__(self, service: Service, picture: bytes, made: dict[str, str]) -> None:
        self._service, self._picture, self._made = service, picture, made
        self.seen: list[str] = []
        self.wrong: list[str] = []
        self._over = threading.Event()
        item = service.get("/v1/items").json()["results"][0]["id"]
        ways: list[Callable[[httpx.Client], httpx.Response]] = [
            lambda http: http.post("/v1/search", files={"image": picture}),
            lambda http: http.post("/v1/embed", files={"image": picture}),
            lambda http: http.get(f"/v1/items/{item}/similar"),
            lambda http: http.get("/v1/collection"),
        ]
        self.orders: list[list[str]] = [[], []]  # what each thread saw, one after the other
        self._threads = [
            threading.Thread(target=self._ask, args=(ways[n::2], self.orders[n])) for n in (0, 1)
        ]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_until_served(self, release: str) -> float:
        """Seconds until an answer is of that release."""
        start = time.monotonic()
        while self.seen[-1:] != [release]:
            assert time.monotonic() - start < 15, self._service.log
            time.sleep(0.01)
        return time.monotonic() - start

    def wait_for_answers(self, more: int) -> None:
        """Until that many more answers have come."""
        start, enough = time.monotonic(), len(self.seen) + more
        while len(self.seen) < enough:
            assert time.monotonic() - start < 30, self._service.log
            time.sleep(0.01)

    def _ask(self, ways: list[Callable[[httpx.Client], httpx.Response]], order: list[str]) -> None:
        with httpx.Client(base_url=self._service.url, timeout=20) as http:
            while not self._over.is_set():
                for way in ways:
                    release = self._note(way(http))
                    if order[-1:] != [release]:
                        order.append(release)

    def _note(self, answer: httpx.Response) -> str:
        document = answer.json()
        release, model = document.get("index_version", ""), document.get("model_version")
        numbers = len(document.get("embedding", ())) or document.get("dimension")
        right = answer.status_code == 200 and model == self._made.get(release)
        if not right or numbers not in (None, NUMBERS[model]):
            self.wrong.append(answer.text)
        self.seen.append(release)
        return release


def test_a_release_of_another_model_is_followed_with_that_model_and_back(
    with_models: Service,
    models: Path,
    releases: Path,
    collection: Path,
    other_model: Path,
    a_photo: bytes,
) -> None:
    old = current_release(releases).name
    new = make_release(collection, other_model, releases)
    shutil.copytree(other_model, models / "tiny-2")
    with Asking(with_models, a_photo, {old: "tiny-1", new: "tiny-2"}) as asking:
        asking.wait_until_served(old)
        publish(releases, new, force="another model")
        took = [asking.wait_until_served(new)]
        assert with_models.get("/readyz").json()["model_version"] == "tiny-2"
        time.sleep(0.3)
        roll_back(releases)
        took.append(asking.wait_until_served(old))
        assert with_models.get("/readyz").json()["model_version"] == "tiny-1"
    assert asking.wrong == []
    assert max(took) < 2
    for order in asking.orders:
        assert order in ([old, new, old], [old, new])  # never to and fro


@pytest.mark.parametrize("damage", ["missing", "weights", "manifest", "another"])
def test_without_its_model_a_release_is_refused_and_the_old_pair_serves_on(
    with_models: Service,
    models: Path,
    releases: Path,
    collection: Path,
    other_model: Path,
    a_photo: bytes,
    damage: str,
) -> None:
    old = current_release(releases).name
    new = make_release(collection, other_model, releases)
    beside = models / "tiny-2"
    why = f"put that model at {beside}"
    if damage == "another":
        shutil.copytree(models / "tiny-1", beside)
        why = f"than {beside} (tiny-1"
    elif damage != "missing":
        shutil.copytree(other_model, beside)
        name = "manifest.json" if damage == "manifest" else "saved_model/saved_model.pb"
        data = bytearray((beside / name).read_bytes())
        data[len(data) // 2] ^= 1
        (beside / name).write_bytes(data)
        why = f"{beside}"
    with Asking(with_models, a_photo, {old: "tiny-1", new: "tiny-2"}) as asking:
        publish(releases, new, force="another model")
        with_models.wait_for_log(f"refused, release {old} serves on: ")
        (line,) = [line for line in with_models.log if "refused, release" in line]
        assert why in line
        time.sleep(1.2)  # it has looked once more, and found what it had refused
        asking.wait_for_answers(8)
        assert set(asking.seen) == {old}
        # Put there whole, it is taken at once: its files are newer than those that were refused.
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(other_model, beside, copy_function=shutil.copy)
        asking.wait_until_served(new)
    assert asking.wrong == []


def test_a_service_starts_with_the_model_of_the_release_that_is_published(
    start_service: Starter, models: Path, releases: Path, collection: Path, other_model: Path
) -> None:
    shutil.copytree(other_model, models / "tiny-2")
    publish(releases, make_release(collection, other_model, releases), force="another model")
    service = start_service("--model", models / "tiny-1", "--releases", releases)
    assert service.wait_for("/readyz", 200).json()["model_version"] == "tiny-2"
    service.stop()
