"""GET /v1/items/{id}: a work, its neighbours, its picture."""

from __future__ import annotations

import io
import json
import os
from urllib.parse import quote

import pytest
from PIL import Image

from index.publish import publish
from tests.app.conftest import Service
from tests.conftest import paint
from tests.releases import make_release

# What a collection's own ids may look like.
ODD_ID = 'MS 12% #4?&"<b>é 雪'


@pytest.fixture(scope="module")
def some_id(service: Service, a_photo) -> str:
    return service.search(a_photo).json()["results"][2]["id"]


def test_an_item_is_what_the_search_said(service: Service, a_photo) -> None:
    answer = service.search(a_photo).json()
    for work in answer["results"]:
        item = service.get(f"/v1/items/{work['id']}").json()
        assert item.pop("index_version") == answer["index_version"]
        assert item.pop("model_version") == answer["model_version"]
        assert item == {
            k: v
            for k, v in work.items()
            if k not in ("rank", "score", "confidence", "copy_of_query")
        }


def test_similar_works_leave_the_work_itself_out(service: Service, some_id: str) -> None:
    results = service.get(f"/v1/items/{some_id}/similar?k=100").json()["results"]
    ids = [work["id"] for work in results]
    assert some_id not in ids
    assert len(set(ids)) == len(ids) == 23
    assert [work["rank"] for work in results] == list(range(1, 24))
    assert len(service.get(f"/v1/items/{some_id}/similar").json()["results"]) == 5


def test_a_thumbnail_is_a_small_jpeg_without_metadata(service: Service, some_id: str) -> None:
    answer = service.get(f"/v1/items/{some_id}/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    image = Image.open(io.BytesIO(answer.content))
    assert image.format == "JPEG"
    assert max(image.size) <= 320
    assert not image.getexif()


@pytest.mark.parametrize("path", ["/v1/items/{id}/thumbnail", "/", "/docs", "/static/page.js"])
def test_what_has_an_etag_is_sent_once(service: Service, some_id: str, path: str) -> None:
    path = path.format(id=some_id)
    first = service.get(path)
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    etag = first.headers["etag"]
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = service.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert service.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("tail", ["", "/similar", "/thumbnail"])
@pytest.mark.parametrize("id_", ["no-such", "%00", "%FF", "'; DROP TABLE works; --", "x" * 3000])
def test_unknown_ids_are_not_found(service: Service, id_: str, tail: str) -> None:
    answer = service.get(f"/v1/items/{id_}{tail}")
    assert answer.status_code == 404
    assert answer.json()["type"] in ("/problems/no-such-item", "/problems/not-found")
    assert len(answer.content) < 1000


def test_odd_ids_and_titles_survive(start_service, tiny_model, tmp_path) -> None:
    collection = tmp_path / "collection"
    collection.mkdir()
    for number in range(3):
        paint("baroque", number).save(collection / f"{number}.png")
    quoted = ODD_ID.replace('"', '""')
    rows = ["path,id,title,artist,date,note", f'0.png,"{quoted}",<i>Nacht</i> [b],A,1612,"""q"""']
    (collection / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    releases = tmp_path / "releases"
    publish(releases, make_release(collection, tiny_model, releases))
    service = start_service("--model", tiny_model, "--releases", releases)
    service.wait_for("/readyz", 200)
    item = service.get(f"/v1/items/{quote(ODD_ID, safe='')}").json()
    assert (item["id"], item["title"], item["artist"]) == (ODD_ID, "<i>Nacht</i> [b]", "A")
    assert (item["date"], item["metadata"]) == ("1612", {"note": '"q"'})
    assert service.get(item["thumbnail"]).status_code == 200
    service.stop()


@pytest.mark.parametrize("tail", ["", "/similar", "/thumbnail"])
@pytest.mark.parametrize("query", ["size=9", "k=1&k=2"])
def test_misspelt_and_repeated_parameters_are_refused(
    service: Service, some_id: str, tail: str, query: str
) -> None:
    answer = service.get(f"/v1/items/{some_id}{tail}?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-parameter")


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/v1/items/{id}", "/v1/items/{id}/thumbnail"]
)
def test_head_is_get_without_the_body(service: Service, some_id: str, path: str) -> None:
    path = path.format(id=some_id)
    head, got = service.http.head(service.url + path), service.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == got.headers[name]


def test_head_of_an_unknown_work_is_not_found(service: Service) -> None:
    assert service.http.head(f"{service.url}/v1/items/nope").status_code == 404


def test_every_name_has_its_thumbnail_and_answers_are_json(
    start_service, tiny_model, tmp_path
) -> None:
    """Blanks, quotes, upper case, both ways to write an accent, bytes that are not UTF-8."""
    collection = tmp_path / "collection"
    collection.mkdir()
    names = [b"a b.PNG", b"\"q\" 'q'.png", "caf\u00e9.png".encode(), "cafe\u0301.png".encode()]
    names += [b"caf\xe9.png", b"100% #1 ?&.png", "浪裏.png".encode(), b"line\nbreak.png"]
    for number, name in enumerate(names):
        painted = tmp_path / "painted.png"
        paint("baroque", number).save(painted)
        os.rename(painted, os.path.join(os.fsencode(collection), name))
    rows = [{"path": "a b.PNG", "note": float("nan")}, {"path": "caf\\xe9.png", "title": "\x00é"}]
    (collection / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    releases = tmp_path / "releases"
    publish(releases, make_release(collection, tiny_model, releases))
    service = start_service("--model", tiny_model, "--releases", releases)
    service.wait_for("/readyz", 200)
    items = service.get("/v1/items?limit=20").json()["results"]
    assert len(items) == len({item["id"] for item in items}) == len(names)
    for item in items:
        assert service.get(item["thumbnail"]).status_code == 200
        answer = service.get(f"/v1/items/{quote(item['id'], safe='')}/similar")
        json.loads(answer.content, parse_constant=lambda _: pytest.fail("not JSON"))
    assert {item["title"] for item in items} >= {"\x00é", "a b", "caf\u00e9", "cafe\u0301"}
    service.stop()
