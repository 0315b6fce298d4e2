"""Keys, their replacement while the service runs, rates, and the record of admin calls."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import artkin
from app.client import Client
from app.keys import Keys
from index.space.errors import BadInput
from tests.app.conftest import Service
from tests.bad_pictures import encoded, photo

OLD, NEW, OTHER = (f"{name}-key-0123456789" for name in ("old", "new", "other"))
JOBS = "/v1/admin/jobs"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def replace(path: Path, text: str) -> None:
    """As an editor or a mounted secret does: a new file in the old one's place."""
    new = path.with_name("new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


@pytest.mark.parametrize("content", ["", "short", f"{OLD}\n{NEW}\n{OTHER}", f"{OLD}\nshort"])
def test_unusable_keys_stop_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"1 to 2 keys.*at least 16 bytes.*artkin key"):
        Keys(path, "admin_key_file", most=2)


def test_keys_are_replaced_while_in_use(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{OLD}\n")
    keys = Keys(path, "admin_key_file", most=2)

    def known() -> list[bool]:
        return [keys.owner(f"Bearer {key}".encode()) is not None for key in (OLD, NEW)]

    assert known() == [True, False]
    replace(path, f"{OLD}\n\n  {NEW}  \n")
    assert known() == [True, True]
    replace(path, "short")
    assert known() == [True, True]
    path.unlink()
    assert known() == [True, True]
    replace(path, NEW)
    assert known() == [False, True]


def test_contradictions_stop_the_start_in_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "admin").write_text(OLD)
    (tmp_path / "search").write_text(f"{NEW}\n{OLD}\n")
    (tmp_path / "others").write_text(f"{NEW}\n{OTHER}\n")
    (tmp_path / "metrics").write_text(NEW)
    metrics = ["--metrics-key-file", str(tmp_path / "metrics")]
    admin = ["--admin-key-file", str(tmp_path / "admin")]
    collection = ["--collection", str(tmp_path / "works")]
    cases = [
        ([*admin, "--search-key-file", str(tmp_path / "search")], "must not hold an admin key"),
        ([*admin, "--metrics-key-file", admin[1]], "reads metrics could do everything"),
        ([*metrics, "--search-key-file", str(tmp_path / "others")], "must not hold a search key"),
        (collection, "name it with --admin-key-file"),
        ([*admin, *collection, "--state", str(tmp_path / "works/s")], "--state must not be inside"),
        (
            [*admin, *collection, "--state", str(tmp_path / "s"), "--releases", collection[1]],
            "--releases must not be inside",
        ),
        ([*admin, "--state", str(tmp_path / "admin" / "x")], "a folder that can be written"),
    ]
    for arguments, said in cases:
        assert artkin.main(["serve", "--port", "0", *arguments]) == 2
        message = capsys.readouterr().err
        assert said in message
        assert message.count("\n") == message.count("INFO") + 1


@pytest.fixture(scope="module")
def closed(start_service, tiny_model, published, tmp_path_factory) -> tuple[Service, Path]:
    """A service with keys for everything and five calls a minute; and its folder."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "admin").write_text(OLD)
    (folder / "search").write_text(f"{NEW}\n{OTHER}\n")
    service = start_service(
        *("--model", tiny_model, "--releases", published, "--state", folder / "state"),
        *("--admin-key-file", folder / "admin", "--search-key-file", folder / "search"),
        *("--per-minute", 5),
    )
    service.wait_for("/readyz", 200)
    return service, folder


def test_everything_but_health_and_pages_needs_a_key(closed, a_photo: bytes) -> None:
    service, _ = closed
    for path in ("/v1/items", "/v1/items/x/thumbnail", "/v1/collection", "/metrics", JOBS):
        answer = service.get(path)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert service.search(a_photo).status_code == 401
    for path in ("/healthz", "/readyz", "/", "/docs", "/openapi.json"):
        assert service.get(path).status_code == 200
    assert service.get(JOBS, headers=bearer(NEW)).status_code == 401
    assert service.get("/metrics", headers=bearer(NEW)).status_code == 401
    assert service.get("/metrics", headers=bearer(OLD)).status_code == 200
    assert service.get("/v1/collection", headers=bearer(OLD)).status_code == 200


def test_a_key_has_so_many_calls_a_minute(closed, a_photo: bytes) -> None:
    service, _ = closed
    answers = [service.get("/v1/collection", headers=bearer(NEW)) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].json()["type"] == "/problems/rate-limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert service.search(a_photo, headers=bearer(NEW)).status_code == 429
    # Another key has its own, pictures and admin calls do not count.
    assert service.search(a_photo, headers=bearer(OTHER)).status_code == 200
    thumbnails = [
        service.get("/v1/items/x/thumbnail", headers=bearer(OTHER)).status_code for _ in range(9)
    ]
    assert thumbnails == [404] * 9
    assert [service.get(JOBS, headers=bearer(OLD)).status_code for _ in range(9)] == [200] * 9


@pytest.mark.parametrize("has_admin", [True, False])
def test_a_metrics_key_opens_the_metrics_alone(
    start_service, tiny_model, published, tmp_path, has_admin: bool
) -> None:
    (tmp_path / "admin").write_text(OLD)
    (tmp_path / "search").write_text(NEW)
    (tmp_path / "metrics").write_text(OTHER)
    admin = ["--admin-key-file", tmp_path / "admin"] if has_admin else []
    service = start_service(
        *("--model", tiny_model, "--releases", published, *admin),
        *("--search-key-file", tmp_path / "search", "--metrics-key-file", tmp_path / "metrics"),
    )
    service.wait_for("/readyz", 200)

    def statuses(path: str) -> list[int]:
        keys = [{}, bearer(OTHER), bearer(NEW), bearer(OLD)]
        return [service.get(path, headers=key).status_code for key in keys]

    assert statuses("/metrics") == [401, 200, 401, 200 if has_admin else 401]
    assert statuses("/v1/collection") == [401, 401, 200, 200 if has_admin else 401]
    assert statuses(JOBS) == ([401, 401, 401, 200] if has_admin else [403] * 4)


def test_guessing_keys_is_slowed_down_and_fills_no_disk(
    start_service, tiny_model, published, tmp_path
) -> None:
    (tmp_path / "admin").write_text(OLD)
    service = start_service(
        *("--model", tiny_model, "--releases", published, "--state", tmp_path / "state"),
        *("--admin-key-file", tmp_path / "admin"),
    )
    statuses = [service.get(JOBS, headers=bearer("wrong" * 4)).status_code for _ in range(70)]
    assert statuses == [401] * 60 + [429] * 10
    assert service.get(JOBS, headers=bearer(OLD)).status_code == 200
    assert len((tmp_path / "state" / "audit.jsonl").read_text().splitlines()) == 61


def test_a_key_file_that_others_can_write_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(OLD)
    (tmp_path / "key").chmod(0o646)
    with pytest.raises(BadInput, match="chmod go-w"):
        Keys(tmp_path / "key", "admin_key_file", most=2)


def test_the_client_and_the_command_bring_a_key(closed, tmp_path: Path, capsys) -> None:
    service, folder = closed
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(photo(), "PNG"))
    with Client(service.url, OLD) as client:
        assert client.search(picture.read_bytes()).results
    asked = ["query", str(picture), "--url", service.url]
    assert artkin.main(asked) == 2
    assert "401" in capsys.readouterr().err
    assert artkin.main([*asked, "--key-file", str(folder / "admin")]) == 0


def test_each_admin_call_is_recorded_without_its_key(closed) -> None:
    service, folder = closed
    audit = folder / "state" / "audit.jsonl"
    before = len(audit.read_text().splitlines())
    allowed = service.get(f"{JOBS}?limit=3", headers=bearer(OLD))
    refused = service.get(JOBS, headers=bearer("wrong-key-0123456789"))
    service.get("/v1/collection", headers=bearer(OLD))
    text = audit.read_text()
    lines = [json.loads(line) for line in text.splitlines()[before:]]
    assert [(line["status"], line["method"], line["path"]) for line in lines] == [
        (200, "GET", JOBS),
        (401, "GET", JOBS),
    ]
    assert lines[0]["request_id"] == allowed.headers["x-request-id"]
    assert lines[1]["request_id"] == refused.headers["x-request-id"]
    assert [line["query"] for line in lines] == ["limit=3", ""]
    assert len(lines[0]["key"]) == 8
    assert lines[1]["key"] is None
    assert OLD not in text
    assert "wrong-key" not in text
