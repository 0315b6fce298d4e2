"""Filters, pages, balance, diversity, examples, regions, batches: against the answer by hand."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.decoding import Decoder
from app.loading import load
from app.options import Examples, SearchOptions
from app.problems import Problem
from app.searching import Question
from app.searching import answer as answered
from app.serving import Serving
from index.confidence import Confidence
from index.release import open_release
from index.space.artefact import write_manifest
from index.space.errors import BadInput
from tests.app.conftest import Service, write_synthetic
from tests.bad_pictures import encoded, photo

WORKS = 400
LEARNT = Confidence(
    **{"part": "style", "slope": 2.0, "intercept": -1.0, "error": 0.01, "threshold": 0.5},
    **{"false_positives": 0.05, "found": 0.5, "queries": 99},
)


def facts(row: int) -> dict[str, str]:
    """Forty artists of ten works each; ten works have a licence; one of each year from 1600."""
    licence = {"licence": "CC0"} if row % 40 == 7 else {}
    return {"artist": f"Artist {row // 10}", "date": str(1600 + row), **licence}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, two_parts: Path) -> Serving:
    releases = tmp_path_factory.mktemp("searching") / "releases"
    releases.mkdir()
    rng = np.random.default_rng(5)
    parts = [rng.normal(size=(WORKS, 8)) for _ in range(2)]
    style, work = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts)
    vectors = np.concatenate([0.55**0.5 * style, 0.45**0.5 * work], axis=1).astype(np.float32)
    id_ = write_synthetic(releases, two_parts, WORKS, vectors=vectors, metadata=facts)
    manifest = open_release(releases / id_).manifest
    write_manifest(releases / id_, manifest.model_copy(update={"confidence": LEARNT}))
    return load(two_parts, releases / id_, None, Decoder(1), releases / "no-changes")


def vectors_of(serving: Serving) -> np.ndarray:
    return serving.release.vectors.get(np.arange(WORKS))


def ids(answer) -> list[str]:
    return [work.id for work in answer.results]


def by_hand(serving: Serving, row: int, rows: np.ndarray) -> list[str]:
    """Ids of rows by their cosine with a row, copies (0.8 in the work part) first."""
    vectors = vectors_of(serving)
    scores = vectors[rows] @ vectors[row]
    work = vectors[rows, 8:] @ vectors[row, 8:] / 0.45
    order = np.lexsort((rows, -np.where(work >= 0.8, work, scores), work < 0.8))
    return [f"w{rows[place]}" for place in order if rows[place] != row]


def test_ten_works_of_all_are_found_when_a_filter_keeps_ten(serving: Serving) -> None:
    kept = np.arange(7, WORKS, 40)
    answer = serving.similar("w3", SearchOptions(k=100, filter="licence:cc0"))
    assert ids(answer) == by_hand(serving, 3, kept)
    assert answer.total == 10
    nothing = serving.similar("w3", SearchOptions(filter="licence:cc0 date:1999..2000"))
    assert (nothing.results, nothing.total) == ([], 0)


def test_pages_are_the_whole_cut_in_pieces(serving: Serving) -> None:
    whole = ids(serving.similar("w0", SearchOptions(k=90)))
    pages = [serving.similar("w0", SearchOptions(k=30, offset=at)) for at in (0, 30, 60)]
    assert [id_ for page in pages for id_ in ids(page)] == whole
    assert whole == by_hand(serving, 0, np.arange(WORKS))[:90]
    assert [work.rank for work in pages[2].results] == list(range(61, 91))
    assert {page.total for page in pages} == {WORKS - 1}
    last = serving.similar("w0", SearchOptions(k=5, offset=WORKS - 3))
    assert [work.rank for work in last.results] == [WORKS - 2, WORKS - 1]
    assert ids(serving.similar("w0", SearchOptions(offset=1000))) == []


@pytest.mark.parametrize("style", [0.0, 0.3, 1.0])
def test_style_shifts_the_balance(serving: Serving, style: float) -> None:
    vectors = vectors_of(serving)
    both = [vectors[:, :8] / 0.55**0.5, vectors[:, 8:] / 0.45**0.5]
    scores = style * both[0] @ both[0][0] + (1 - style) * both[1] @ both[1][0]
    answer = serving.similar("w0", SearchOptions(k=100, style=style))
    alike = [work for work in answer.results if not work.copy_of_query]
    expected = scores[[int(work.id[1:]) for work in alike]]
    assert [work.score for work in alike] == pytest.approx(expected, abs=2e-6)
    assert (np.diff(expected) <= 1e-6).all()
    copies = [int(work.id[1:]) for work in answer.results if work.copy_of_query]
    left = np.setdiff1d(np.arange(1, WORKS), [*copies, *(int(work.id[1:]) for work in alike)])
    assert scores[left].max() <= expected.min() + 1e-6


def test_the_same_artist_is_left_out(serving: Serving) -> None:
    answer = serving.similar("w25", SearchOptions(k=100, exclude_same_artist=True))
    assert "Artist 2" not in {work.artist for work in answer.results}
    assert answer.total == WORKS - 10
    rows = np.setdiff1d(np.arange(WORKS), np.arange(20, 30))
    assert ids(answer) == by_hand(serving, 25, rows)[:100]


def artists(serving: Serving, question: Question, text: str = "") -> set[str]:
    """Of everything that an uploaded picture is answered with under `exclude_same_artist`."""
    options = SearchOptions(k=100, filter=text, exclude_same_artist=True)
    model = serving.encoder.model.manifest
    return {work.artist for work in answered(serving.release, model, question, options)["results"]}


def test_the_artist_of_a_picture_is_known_whatever_the_filter_lets_through(
    serving: Serving,
) -> None:
    """The work that the picture is a copy of is of 1625; nine others of its artist are not."""
    picture = vectors_of(serving)[25]
    shown = artists(serving, Question(picture, [picture]), "date:1620..1649 -date:1625")
    assert "Artist 2" not in shown
    assert {"Artist 3", "Artist 4"} >= shown > set()


def test_the_artist_of_a_region_is_the_picture_s_where_it_is_no_copy(serving: Serving) -> None:
    everything = vectors_of(serving)
    rng = np.random.default_rng(0)
    while True:  # a region unlike every work
        region = np.concatenate([everything[25][:8], rng.normal(size=8).astype(np.float32)])
        region[8:] *= 0.45**0.5 / np.linalg.norm(region[8:])
        if (everything[:, 8:] @ region[8:]).max() < 0.45 * 0.79:
            break
    text = "date:1600..1629"
    whole = everything[25]
    assert artists(serving, Question(region, [region]), text) >= {"Artist 2"}
    assert artists(serving, Question(region, [region], whole=whole), text) == {
        "Artist 0",
        "Artist 1",
    }
    # A region that is a copy speaks for itself, as of one of two pictures on a wall.
    other = everything[5]
    assert "Artist 0" not in artists(serving, Question(other, [other], whole=whole), text)
    assert "Artist 2" in artists(serving, Question(other, [other], whole=whole), text)


def test_diversity_pages_and_keeps_the_nearest_first(serving: Serving) -> None:
    plain = serving.similar("w0", SearchOptions(k=20))
    whole = serving.similar("w0", SearchOptions(k=20, diversity=0.7))
    page = serving.similar("w0", SearchOptions(k=10, offset=10, diversity=0.7))
    assert ids(whole)[10:] == ids(page)
    assert ids(whole) != ids(plain)
    alike = [work.id for work in plain.results if not work.copy_of_query]
    assert alike[0] in ids(whole)

    # The fifty nearest change places, those after them do not.
    far = SearchOptions(k=50, offset=80)
    assert ids(serving.similar("w0", far)) == ids(
        serving.similar("w0", far.model_copy(update={"diversity": 0.7}))
    )

    def closeness(answer) -> float:
        chosen = vectors_of(serving)[[int(id_[1:]) for id_ in ids(answer)]]
        return float((chosen @ chosen.T).mean())

    assert closeness(whole) < closeness(plain)


def test_examples_by_id(serving: Serving) -> None:
    one = serving.search_examples([], [], Examples(positive_id=["w9"], k=10))
    assert one == serving.similar("w9", SearchOptions(k=10))
    several = Examples(positive_id=["w9", "w10"], negative_id=["w11"], k=100)
    answer = serving.search_examples([], [], several)
    assert not {"w9", "w10", "w11"} & set(ids(answer))
    assert answer.total == WORKS - 3
    assert answer.nothing_alike is None
    assert {work.confidence for work in answer.results} == {None}
    scores = [work.score for work in answer.results if not work.copy_of_query]
    assert scores == sorted(scores, reverse=True)


def test_examples_need_one_to_be_like(serving: Serving) -> None:
    with pytest.raises(Problem, match="received none"):
        serving.search_examples([], [], Examples(negative_id=["w9"]))
    with pytest.raises(Problem, match="no work has the id 'nobody'"):
        serving.search_examples([], [], Examples(positive_id=["nobody"]))


def test_confidence_is_that_of_the_style_part(serving: Serving) -> None:
    style = vectors_of(serving)[:, :8] / 0.55**0.5
    for balance in (None, 0.0):
        for work in serving.similar("w0", SearchOptions(style=balance)).results:
            cosine = style[0] @ style[int(work.id[1:])]
            assert work.confidence == pytest.approx(1 / (1 + np.exp(1 - 2 * cosine)), abs=1e-3)


def test_nothing_alike_is_said_of_what_is_far_from_all(serving: Serving) -> None:
    vectors = vectors_of(serving)
    for row in range(12):
        entries = by_hand(serving, row, np.arange(WORKS))
        work = vectors[:, 8:] @ vectors[row, 8:] / 0.45
        has_copies = bool(np.delete(work >= 0.8, row).any())
        nearest = max(float(vectors[row] @ vectors[int(id_[1:])]) for id_ in entries)
        answer = serving.similar(f"w{row}", SearchOptions(style=0.5, k=1))
        assert answer.nothing_alike == (not has_copies and nearest < LEARNT.threshold)
        # It is said of the whole collection, whatever a filter lets through.
        filtered = SearchOptions(style=0.5, filter="date:1500")
        assert serving.similar(f"w{row}", filtered).nothing_alike == answer.nothing_alike


def test_an_unknown_field_is_refused(serving: Serving) -> None:
    with pytest.raises(BadInput, match="date, artist, class, greyscale, licence; received 'size'"):
        serving.similar("w0", SearchOptions(filter="size:9"))


# Over HTTP


def test_a_batch_is_each_alone(service: Service, a_photo: bytes) -> None:
    other = encoded(photo(80, 60), "PNG")
    files = [("image", a_photo), ("image", b"no picture"), ("image", other)]
    answer = service.post("/v1/search/batch?k=3", files=files)
    assert answer.status_code == 200
    first, second, third = answer.json()["answers"]
    assert first == service.search(a_photo, k=3).json()
    assert third == service.search(other, k=3).json()
    assert second["type"] == "/problems/unsupported-image"
    assert second["status"] == 415


def test_a_batch_has_at_most_32(service: Service, a_photo: bytes) -> None:
    small = encoded(photo(32, 32), "JPEG")
    files = [("image", small)] * 32
    answer = service.post("/v1/search/batch", files=files)
    assert len(answer.json()["answers"]) == 32
    refused = service.post("/v1/search/batch", files=[*files, ("image", small)])
    assert refused.status_code == 400
    assert "at most 32 files" in refused.json()["detail"]


def test_several_pictures_may_be_longer_than_one(service: Service, a_photo: bytes) -> None:
    heavy = a_photo + bytes(9 * 2**20)
    assert service.post("/v1/search/batch", files=[("image", heavy)] * 3).status_code == 200
    refused = service.post("/v1/search/batch", files=[("image", heavy)] * 5)
    assert refused.status_code == 413
    assert refused.json()["type"] == "/problems/body-too-large"


def test_examples_by_upload(service: Service, a_photo: bytes) -> None:
    alone = service.post("/v1/search/examples?k=24", files=[("positive", a_photo)]).json()
    plain = service.search(a_photo, k=24).json()
    assert [work["id"] for work in alone["results"]] == [work["id"] for work in plain["results"]]
    chosen, avoided = (work["id"] for work in plain["results"][:2])
    query = f"positive_id={chosen}&positive_id={plain['results'][2]['id']}&negative_id={avoided}"
    mixed = service.post(f"/v1/search/examples?k=24&{query}", files=[("negative", a_photo)])
    assert mixed.json()["total"] == 21
    by_id = service.post(f"/v1/search/examples?positive_id={chosen}").json()
    assert [work["id"] for work in by_id["results"]] == [
        work["id"] for work in service.get(f"/v1/items/{chosen}/similar").json()["results"]
    ]
    none = service.post("/v1/search/examples")
    assert none.status_code == 422
    assert none.json()["type"] == "/problems/no-example"


def test_a_region_is_asked_as_the_picture_cut_out(service: Service) -> None:
    image = photo(200, 160)
    region = image.crop((50, 40, 150, 160))
    asked = {"k": 24, "box": "0.25,0.25,0.75,1"}
    answer = service.post("/v1/search", params=asked, files={"image": encoded(image, "PNG")}).json()
    assert answer == service.search(encoded(region, "PNG"), k=24).json()


@pytest.mark.parametrize(
    ("box", "slug"),
    [
        ("0,0,1", "invalid-parameter"),
        ("0,0,1,2", "invalid-parameter"),
        ("0.5,0,0.5,1", "invalid-parameter"),
        ("0.9,0,0.1,1", "invalid-parameter"),
        ("nan,0,1,1", "invalid-parameter"),
        ("0,0,0.01,1", "region-too-small"),
    ],
)
def test_a_bad_region_is_refused(service: Service, a_photo: bytes, box: str, slug: str) -> None:
    answer = service.post("/v1/search", params={"box": box}, files={"image": a_photo})
    assert answer.status_code == 422
    assert answer.json()["type"] == f"/problems/{slug}"


def test_an_embedding_is_the_models(service: Service, a_photo: bytes, tiny_model) -> None:
    answer = service.post("/v1/embed", files={"image": a_photo}).json()
    vector = np.asarray(answer["embedding"])
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert sum(part["width"] for part in answer["parts"]) == len(vector)
    nearest = service.search(a_photo, k=1).json()["results"][0]
    work = service.get(f"/v1/items/{nearest['id']}/thumbnail").content
    assert Image.open(io.BytesIO(work)).size[0] > 0
    assert answer["model_version"] == "tiny-1"


def test_a_model_of_one_part_has_no_balance(service: Service, a_photo: bytes) -> None:
    answer = service.post("/v1/search?style=0.5", files={"image": a_photo})
    assert answer.status_code == 422
    assert "has one; received style=0.5" in answer.json()["detail"]
    assert service.get("/v1/collection").json()["style"] is None


def test_lists_page_and_count(service: Service) -> None:
    first = service.get("/v1/items?limit=10").json()
    rest = service.get("/v1/items?limit=100&offset=10").json()
    everything = [work["id"] for work in first["results"] + rest["results"]]
    assert len(set(everything)) == len(everything) == first["total"] == rest["total"] == 24
    some = service.get("/v1/items", params={"filter": "class:cubism", "limit": 100}).json()
    assert {work["label"] for work in some["results"]} == {"cubism"}
    title = some["results"][0]["title"]
    found = service.get("/v1/items", params={"q": title}).json()
    assert title in [work["title"] for work in found["results"]]
    counts = {
        facet["field"]: {value["value"]: value["works"] for value in facet["values"]}
        for facet in service.get("/v1/facets").json()["facets"]
    }
    assert counts["class"]["cubism"] == some["total"]


def test_the_map_has_every_work_once(service: Service) -> None:
    whole = service.get("/v1/map").json()
    assert whole["total"] == len({place["id"] for place in whole["places"]}) == 24
    some = service.get("/v1/map?filter=class:cubism&limit=2&offset=1").json()
    cubism = [place for place in whole["places"] if place["label"] == "cubism"]
    assert (some["total"], some["places"]) == (len(cubism), cubism[1:3])


def test_a_filter_that_is_none_is_named(service: Service, a_photo: bytes) -> None:
    calls: list[httpx.Response] = [
        service.post("/v1/search?filter=class", files={"image": a_photo}),
        service.get("/v1/items?filter=date:x"),
        service.get("/v1/items?q=%00"),
        service.get("/v1/items?filter=class:a%0Ab"),
        service.get("/v1/items?q=a%00b"),
        service.get("/v1/facets?filter=no-such:x"),
    ]
    for answer in calls:
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/invalid-parameter"
        assert "received" in answer.json()["detail"]


def test_a_release_of_an_older_format_is_refused_with_the_command(tmp_path, published) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "releases", symlinks=True)) / "current"
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(Exception, match="artkin index COLLECTION"):
        open_release(folder.resolve())
