"""Works added and deleted while the service runs: found at once, kept for good, gone for good."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

import artkin
from index.changes import TABLE, Changes, read_changes
from index.publish import publish
from index.release import open_release
from index.releases import current_release, release_ids
from index.space.errors import ArtefactError, BadInput
from tests.app.conftest import ADMIN, Service
from tests.app.test_admin import finished
from tests.bad_pictures import encoded
from tests.conftest import paint
from tests.releases import make_release

ITEMS = "/v1/admin/items"
ADDED = encoded(paint("cubism", 900, (120, 90)), "PNG")
OTHER = encoded(paint("baroque", 901, (120, 90)), "PNG")
FACTS = {"id": "new 1", "class": "cubism", "title": "Neu & alt", "artist": "Gabriele Münter"}


@pytest.fixture
def start(start_service, tiny_model, key_file, releases, tmp_path):
    def start() -> Service:
        service = start_service(
            *("--model", tiny_model, "--releases", releases, "--admin-key-file", key_file),
            *("--state", tmp_path / "state"),
        )
        service.wait_for("/readyz", 200)
        return service

    return start


def add(service: Service, picture: bytes = ADDED, **facts: str):
    return service.post(ITEMS, params=FACTS | facts, files={"image": picture}, headers=ADMIN)


def delete(service: Service, id_: str):
    return service.http.delete(f"{service.url}{ITEMS}/{id_}", headers=ADMIN)


def found(service: Service, picture: bytes) -> list[str]:
    return [work["id"] for work in service.search(picture, k=100).json()["results"]]


def test_a_work_is_added_and_deleted(start) -> None:
    service = start()
    before = service.get("/v1/collection").json()
    answer = add(service)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/v1/items/new%201"
    work = answer.json()
    assert (work["title"], work["artist"], work["label"]) == (
        *("Neu & alt", "Gabriele Münter", "cubism"),
    )
    first = service.search(ADDED).json()["results"][0]
    assert first["id"] == "new 1"
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert service.get(first["thumbnail"]).headers["content-type"] == "image/jpeg"
    assert service.get("/v1/items?q=munter").json()["total"] == 1
    assert service.get("/v1/items", params={"filter": "artist:*"}).json()["total"] == 1
    after = service.get("/v1/collection").json()
    assert after["works"] == before["works"] + 1
    assert after["index_version"] == before["index_version"] + "+1"

    gone = delete(service, "new 1")
    assert gone.json()["works"] == before["works"]
    assert "new 1" not in found(service, ADDED)
    for path in ("", "/similar", "/thumbnail"):
        assert service.get(f"/v1/items/new%201{path}").status_code == 404
    assert service.get("/v1/items?q=munter").json()["total"] == 0


def test_a_work_of_the_release_is_taken_down_for_good(start, tmp_path, collection, releases,
                                                      tiny_model) -> None:  # fmt: skip
    service = start()
    taken = found(service, ADDED)[0]
    assert delete(service, taken).status_code == 200
    assert add(service).status_code == 201
    assert add(service, OTHER, id="short-lived").status_code == 201
    assert delete(service, "short-lived").status_code == 200
    expected = found(service, ADDED)
    assert taken not in expected
    assert expected[0] == "new 1"

    # A restart, and a kill.
    assert service.stop() == 0
    service = start()
    assert found(service, ADDED) == expected
    service.process.kill()
    service.process.wait()
    service = start()
    assert found(service, ADDED) == expected
    assert service.get(f"/v1/items/{taken}").status_code == 404

    # A rebuild that knows of the changes, and one that does not.
    for state in (tmp_path / "state", tmp_path / "other"):
        id_ = make_release(collection, tiny_model, releases, state=state)
        release = open_release(releases / id_)
        ids = {entry.id for entry in release.catalogue.entries()}
        knows = state.name == "state"
        assert (taken in ids, "new 1" in ids) == (not knows, knows)
        if knows:
            assert release.manifest.left_out["removed or replaced"] == 1
            words = release.thumbnails.get(release.manifest.works - 1)
            assert words is not None
        release.close()
        publish(releases, id_)
        assert service.post("/v1/admin/reload", headers=ADMIN).status_code == 200
        assert sorted(found(service, ADDED)) == sorted(expected)
        assert service.get(f"/v1/items/{taken}").status_code == 404


def test_what_cannot_be_added_is_refused_and_nothing_is_kept(start, tmp_path) -> None:
    service = start()
    taken = found(service, ADDED)[0]
    cases = [
        (add(service, b"no picture"), 415, "unsupported-image"),
        (add(service, id=taken), 409, "id-taken"),
        (add(service, id="a/b"), 422, "invalid-parameter"),
        (add(service, id=""), 422, "invalid-parameter"),
        (add(service, id=" "), 422, "invalid-parameter"),
        (add(service, id="a\nb"), 422, "invalid-parameter"),
        (add(service, id="a\0b"), 422, "invalid-parameter"),
        (add(service, box="0,0,1,1"), 422, "invalid-parameter"),
        (add(service, greyscale="no"), 422, "invalid-parameter"),
        (add(service, note="x" * 5001), 422, "invalid-parameter"),
        (add(service, **{f"field{n}": "x" for n in range(50)}), 422, "invalid-parameter"),
        (service.post(ITEMS, files={"image": ADDED}, headers=ADMIN), 422, "invalid-parameter"),
        (delete(service, "nobody"), 404, "no-such-item"),
        (service.post(ITEMS, params=FACTS, files={"image": ADDED}), 401, "unauthorized"),
    ]
    for answer, status, slug in cases:
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert read_changes(tmp_path / "state" / "changes") == []
    assert not list((tmp_path / "state" / "changes").rglob("*"))
    assert "+" not in service.get("/readyz").json()["index_version"]


def test_an_id_is_given_once_however_many_ask_for_it(start) -> None:
    service = start()

    def ask(_: int) -> int:
        while (status := add(service).status_code) == 503:
            pass  # a busy machine lets nobody wait for longer than a second
        return status

    with ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(ask, range(6)))
    assert sorted(statuses) == [201] + [409] * 5


def test_a_rebuild_has_added_works_on_its_map_and_no_work_taken_down_meanwhile(
    start_service, tiny_model, key_file, releases, tmp_path, collection
) -> None:
    service = start_service(
        *("--model", tiny_model, "--releases", releases, "--admin-key-file", key_file),
        *("--state", tmp_path / "state", "--collection", collection),
    )
    service.wait_for("/readyz", 200)
    assert add(service).status_code == 201
    assert service.get("/v1/map").json()["total"] == 24
    taken = found(service, OTHER)[0]
    where = service.post("/v1/admin/rebuilds", headers=ADMIN).headers["location"]
    time.sleep(0.5)
    assert delete(service, taken).status_code == 200
    assert finished(service, where)["status"] == "done"
    ids = {e.id for e in open_release(current_release(releases)).catalogue.entries()}
    assert "new 1" in ids
    assert taken not in ids
    assert service.post("/v1/admin/reload", headers=ADMIN).status_code == 200
    places = {place["id"] for place in service.get("/v1/map").json()["places"]}
    assert places == ids
    assert service.get("/v1/collection").json()["works"] == len(ids)


def test_searches_go_on_while_works_come_and_go(start) -> None:
    service = start()
    statuses: list[int] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            statuses.append(service.search(ADDED, k=100).status_code)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for number in range(12):
            id_ = f"n{number}"
            assert add(service, id=id_).status_code == 201
            begun = time.monotonic()
            assert id_ in [w["id"] for w in service.get("/v1/items?q=" + id_).json()["results"]]
            assert time.monotonic() - begun < 10
            if number % 2:
                assert delete(service, id_).status_code == 200
    finally:
        stop.set()
        thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 5


def test_the_last_word_on_a_work_counts(tmp_path: Path) -> None:
    changes = Changes(tmp_path)
    changes.add("a", b"first", "x", {"title": "A"})
    changes.add("b", b"other", None, {})
    second = changes.add("a", b"second", "y", {"title": "B"})
    gone = changes.remove("b", "the heirs' wish")
    assert changes.since(0) == [second, gone]
    assert changes.since(second.number) == [gone]
    assert second.picture is not None
    assert second.picture.read_bytes() == b"second"
    assert [path.name for path in second.picture.parent.iterdir()] == [second.picture.name]
    changes.close()
    again = Changes(tmp_path)
    assert again.since(0) == [second, gone]
    assert again.add("c", b"", None, {}).number == gone.number + 1


def test_a_folder_without_changes_has_none(tmp_path: Path) -> None:
    assert read_changes(tmp_path) == []


def test_an_added_work_whose_picture_is_lost_is_logged(start, tmp_path) -> None:
    service = start()
    assert add(service).status_code == 201
    service.stop()
    shutil.rmtree(tmp_path / "state" / "changes" / "pictures")
    service = start()
    assert "new 1" not in found(service, ADDED)
    assert any("'new 1' that was added cannot be used" in line for line in service.log)


def test_rows_of_the_index_and_the_catalogue_stay_together(start, releases) -> None:
    """After deletions and additions each answer's title belongs to its vector."""
    service = start()
    entries = {e.id: e for e in open_release(current_release(releases)).catalogue.entries()}
    for id_ in list(entries)[::3]:
        assert delete(service, id_).status_code == 200
    assert add(service).status_code == 201
    rng = np.random.default_rng(0)
    for id_ in rng.permutation([i for i in entries if i not in list(entries)[::3]])[:6]:
        work = service.get(f"/v1/items/{id_}").json()
        assert work["title"] == entries[id_].title
        near = service.get(f"/v1/items/{id_}/similar?k=100").json()["results"]
        assert len(near) == len(entries) - len(list(entries)[::3])


def gone_from_disk(releases: Path, id_: str) -> bool:
    """Whether no release has the work, and one is published."""
    for one in release_ids(releases):
        try:
            release = open_release(releases / one)
        except (ArtefactError, OSError):  # it is being replaced
            return False
        entry = release.catalogue.by_id(id_)
        release.close()
        if entry is not None:
            return False
    return (releases / "current" / "manifest.json").is_file()


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_work_removed_at_the_command_line_is_out_of_a_running_service(
    start_service, tiny_model, releases, tmp_path
) -> None:
    state = tmp_path / "state"
    service = start_service("--model", tiny_model, "--releases", releases, "--state", state)
    service.wait_for("/readyz", 200)
    before = release_ids(releases)
    taken = found(service, ADDED)[0]
    places = ["--releases", str(releases), "--state", str(state)]
    assert artkin.main(["remove", taken, "--reason", "a wish", *places]) == 0
    service.wait_for(f"/v1/items/{taken}", 404)
    assert taken not in found(service, ADDED)
    assert service.get(f"/v1/items/{taken}/thumbnail").status_code == 404
    assert gone_from_disk(releases, taken)
    assert release_ids(releases) == [f"{id_}-1" for id_ in before]
    (change,) = read_changes(state / "changes")
    assert (change.id, change.kind, change.reason) == (taken, "removed", "a wish")
    assert (change.label, change.metadata, change.picture) == (None, {}, None)
    # The service takes up the release without it, and answers as before.
    wait_until(lambda: service.get("/readyz").json()["index_version"].startswith(f"{before[-1]}-1"))
    assert service.get("/v1/collection").json()["works"] == 23


def test_a_takedown_by_the_service_reaches_the_releases_on_the_disk(start, releases) -> None:
    service = start()
    first, second = found(service, ADDED)[:2]
    for taken in (first, second):
        answer = service.http.delete(
            f"{service.url}{ITEMS}/{taken}", params={"reason": "a wish"}, headers=ADMIN
        )
        assert answer.status_code == 200
    wait_until(lambda: gone_from_disk(releases, first) and gone_from_disk(releases, second))

    def over() -> bool:
        jobs = service.get("/v1/admin/jobs", headers=ADMIN).json()["jobs"]
        return {(job["kind"], job["status"]) for job in jobs} == {("takedown", "done")}

    wait_until(over)
    assert not {first, second} & set(found(service, ADDED))


def full_disk(service: Service) -> None:
    answer = add(service)
    assert answer.status_code == 507, answer.text
    assert answer.json()["type"] == "/problems/disk-full"
    answer = delete(service, found(service, ADDED)[0])
    assert answer.status_code == 507, answer.text
    answer = service.post("/v1/admin/evaluations", headers=ADMIN)
    assert answer.status_code == 507, answer.text


def test_a_full_disk_changes_nothing_and_room_is_enough(start, tmp_path, small_disk) -> None:
    state = tmp_path / "state"
    small_disk(state, "1m")
    service = start()
    with suppress(OSError), (state / "fill").open("wb", buffering=0) as fill:
        while fill.write(bytes(4096)):
            pass
    full_disk(service)
    service.stop()
    service = start()  # a file without a table in it may have been left behind
    full_disk(service)
    (state / "fill").unlink()
    assert add(service).status_code == 201
    asked = service.post("/v1/admin/evaluations", headers=ADMIN)
    assert finished(service, asked.headers["Location"])["status"] == "done"
    assert not [line for line in service.log if "Traceback" in line]
    service.stop()


def test_changes_of_a_writer_that_was_killed_are_read(tmp_path: Path) -> None:
    """A journal beside the table: only who may write can take back what it began."""
    folder = tmp_path / "changes"
    with closing(Changes(folder)) as changes:
        changes.remove("one", "rights")
    writer = (
        "import os, sqlite3, sys\n"
        "table = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "table.execute('PRAGMA cache_size = 1')\n"
        "table.execute('BEGIN IMMEDIATE')\n"
        "table.executemany('INSERT INTO changes (id, kind, metadata, time) VALUES (?, ?, ?, ?)',\n"
        "    [(str(number), 'removed', '{}', 'x' * 500) for number in range(500)])\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", writer, folder / TABLE], check=True)
    assert (folder / f"{TABLE}-journal").stat().st_size
    assert [change.id for change in read_changes(folder)] == ["one"]


def test_a_table_that_was_begun_only_has_no_changes(tmp_path: Path) -> None:
    (tmp_path / TABLE).touch()
    assert read_changes(tmp_path) == []


def test_a_table_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_bytes(b"not a table" * 1000)
    with pytest.raises(BadInput, match="put one from a backup in its place"):
        read_changes(tmp_path)
