"""POST /v1/search: right answers, and a reason for every picture that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from index.release import open_release
from index.releases import current_release
from index.space.encoder import Encoder
from index.space.model import load_model
from index.space.picture_limits import UPLOAD_LIMITS
from index.space.preprocessing import decode, to_pixels
from tests.app.conftest import Service
from tests.bad_pictures import accepted, rejected

REJECTED = rejected()
ACCEPTED = accepted()


def expected(published, tiny_model, picture: bytes, k: int) -> list[tuple[str, float]]:
    """Ids and cosines, computed without the service and without FAISS."""
    model = load_model(tiny_model)
    pixels = to_pixels(decode(picture, UPLOAD_LIMITS), model.manifest.preprocessing)
    query = Encoder(model, batch=1).encode(pixels[np.newaxis])[0]
    release = open_release(current_release(published))
    entries = list(release.catalogue.entries())
    scores = release.vectors.get(np.arange(len(entries))) @ query
    order = np.argsort(-scores, kind="stable")[:k]
    release.close()
    return [(entries[row].id, float(scores[row])) for row in order]


def test_answers_the_nearest_works(service: Service, published, tiny_model, a_photo) -> None:
    answer = service.search(a_photo, k=4).json()
    wanted = expected(published, tiny_model, a_photo, 4)
    assert [work["id"] for work in answer["results"]] == [id_ for id_, _ in wanted]
    assert [work["rank"] for work in answer["results"]] == [1, 2, 3, 4]
    scores = [work["score"] for work in answer["results"]]
    assert scores == pytest.approx([score for _, score in wanted], abs=2e-6)
    assert answer["index_version"] == current_release(published).name
    assert answer["model_version"] == "tiny-1"


def test_a_work_of_the_collection_finds_itself(service: Service, collection) -> None:
    path = next(iter(sorted((collection / "test").rglob("*.png"))))
    first = service.search(path.read_bytes()).json()["results"][0]
    assert first["title"] == path.stem
    assert first["label"] == path.parent.name
    assert first["score"] == pytest.approx(1, abs=1e-5)
    assert (first["artist"], first["date"], first["metadata"]) == (None, None, {})


def test_raw_body_and_form_are_answered_alike(service: Service, a_photo) -> None:
    raw = service.post("/v1/search", content=a_photo, headers={"Content-Type": "image/jpeg"})
    assert raw.json() == service.search(a_photo).json()


def test_five_neighbours_unless_asked_otherwise(service: Service, a_photo) -> None:
    answer = service.post("/v1/search", files={"image": a_photo})
    assert len(answer.json()["results"]) == 5


def test_more_than_there_is_gives_each_once(service: Service, a_photo) -> None:
    ids = [work["id"] for work in service.search(a_photo, k=100).json()["results"]]
    assert len(ids) == len(set(ids)) == 24


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=-1", "k=five", "k=", "K=5", "k=5&limit=3"])
def test_bad_options_are_named(service: Service, a_photo, query: str) -> None:
    answer = service.post(f"/v1/search?{query}", files={"image": a_photo})
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-parameter"
    assert answer.json()["detail"].startswith(("k:", "K:", "limit:"))


@pytest.mark.parametrize("name", REJECTED)
def test_unusable_pictures_get_their_reason(service: Service, name: str) -> None:
    data, slug = REJECTED[name]
    answer = service.search(data)
    assert answer.status_code == (415 if slug == "unsupported-image" else 422)
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "request_id"}
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_pictures_are_answered(service: Service, name: str) -> None:
    answer = service.search(ACCEPTED[name])
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 5


def test_file_names_are_never_used_or_echoed(service: Service, a_photo) -> None:
    for picture in (a_photo, b"no picture"):
        for name in ("../../etc/passwd", "<script>.jpg", "a\u202egpj.exe"):
            answer = service.post("/v1/search", files={"image": (name, picture)})
            assert name not in answer.text
            assert "passwd" not in answer.text
            assert answer.status_code in (200, 415)
