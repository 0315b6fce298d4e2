"""`artkin compare`: overlap and P@5 worked by hand, a page of before and after, one clear line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artkin
from index.neighbours import compare_neighbours
from index.release import Release, open_release
from tests.app.conftest import write_synthetic
from tests.browser import needs_chromium, start_chromium
from tests.releases import make_release

HOSTILE = "</style><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"


def on_a_circle(*degrees: float) -> np.ndarray:
    """Unit vectors of the tiny model's 16 numbers: the nearest is the one next on the circle."""
    vectors = np.zeros((len(degrees), 16), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return vectors


def tags_of(text: str) -> set[str]:
    """The elements of a page, as a browser tells them from text."""
    found = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: found.add(tag)  # type: ignore[method-assign]
    parser.feed(text)
    return found


class Pair:
    """Releases to compare; made in the order of their numbers of works."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.releases, self._model = folder / "releases", model
        self.opened: list[Release] = []
        self.releases.mkdir()

    def add(self, vectors: np.ndarray, name: str, **options: Any) -> Release:
        """A release of its own name, since the fixture names them by their works."""
        made = self.releases.with_name(name)
        made.mkdir()
        id_ = write_synthetic(made, self._model, len(vectors), vectors=vectors, **options)
        release = open_release(made / id_, mapped=True)
        self.opened.append(release)
        return release


@pytest.fixture
def pair(tmp_path: Path, tiny_model: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, tiny_model)
    yield made
    for release in made.opened:
        release.close()


def test_the_same_vectors_keep_every_neighbour(pair: Pair) -> None:
    vectors = np.random.default_rng(3).normal(size=(40, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[30:] = vectors[0]  # copies: more than the five that count
    old, new = pair.add(vectors, "old"), pair.add(vectors, "new")
    found = compare_neighbours(old, new)
    assert found["overlap"]["value"] == 1
    assert found["overlap"]["queries"] == 40
    assert found["overlap"]["low"] == pytest.approx(0.025 ** (1 / 40))  # not "1.000 to 1.000"
    assert found["precision"]["difference"]["value"] == 0
    assert found["precision"]["real"] is False
    assert len(found["queries"]) == 24
    for query in found["queries"]:
        assert query["before"] == query["after"]
        assert query["id"] not in {one["id"] for one in query["after"]}


def test_a_permuted_case_by_hand(pair: Pair) -> None:
    """Two classes of three: a a a b b b. Apart before, each in the middle of the other after.

    Before, at 0 10 21 100 110 121: the two nearest of each are the other two of its class.
    After, w1 and w4 have changed places: of w0 the two nearest are w4 and w2, so w2 stayed and
    w4 is wrong; so of w2 (w4, w0), w3 (w1, w5), w5 (w1, w3). Of w1 they are w3 and w5, none
    stayed, both wrong; of w4 w0 and w2. Overlap (4 x 1/2 + 2 x 0) / 6 = 1/3, P@2 the same.
    """
    old = pair.add(on_a_circle(0, 10, 21, 100, 110, 121), "old", label=lambda i: "aaabbb"[i])
    new = pair.add(on_a_circle(0, 110, 21, 100, 10, 121), "new", label=lambda i: "aaabbb"[i])
    found = compare_neighbours(old, new, k=2)
    assert found["overlap"]["value"] == pytest.approx(1 / 3)
    precision = found["precision"]
    assert (precision["old"], precision["new"]) == (1, pytest.approx(1 / 3))
    assert precision["difference"]["value"] == pytest.approx(-2 / 3)
    assert precision["queries"] == 6
    first, second, *rest = found["queries"]
    assert {first["id"], second["id"]} == {"w1", "w4"}  # none of theirs stayed
    assert [one["stayed"] for one in rest] == [1, 1, 1, 1]
    w0 = next(one for one in rest if one["id"] == "w0")
    assert [one["id"] for one in w0["before"]] == ["w1", "w2"]
    assert [(one["id"], one["stayed"], one["right"]) for one in w0["after"]] == [
        ("w4", False, False),
        ("w2", True, True),
    ]
    assert w0["after"][0]["score"] == pytest.approx(np.cos(np.radians(10)), abs=1e-6)


def test_works_of_one_release_alone_do_not_count(pair: Pair) -> None:
    """The new release has a work right beside each of the old ones."""
    before = [0, 30, 70, 120, 180, 250]
    old = pair.add(on_a_circle(*before), "old")
    new = pair.add(on_a_circle(*before, *(one + 1 for one in before)), "new")
    found = compare_neighbours(old, new, k=2)
    assert found["overlap"]["value"] == 1
    assert (found["old"]["works_of_its_own"], found["new"]["works_of_its_own"]) == (0, 6)
    assert found["works"] == 6
    back = compare_neighbours(new, old, k=2)
    assert (back["overlap"]["value"], back["old"]["works_of_its_own"]) == (1, 6)
    assert compare_neighbours(old, new, k=9)["overlap"]["value"] == 1  # all five others


def test_a_work_with_another_picture_is_not_asked(pair: Pair) -> None:
    old = pair.add(on_a_circle(0, 10, 20, 30), "old")
    new = pair.add(on_a_circle(0, 10, 20, 30), "new", sha256=lambda i: "x" if i == 2 else "")
    found = compare_neighbours(old, new, k=1)
    assert (found["overlap"]["queries"], found["other_picture"]) == (3, 1)
    assert "w2" not in {one["id"] for one in found["queries"]}


def test_without_classes_there_is_no_precision_and_the_reason(pair: Pair) -> None:
    old, new = (
        pair.add(on_a_circle(0, 10, 21, 100), name, label=lambda _: None) for name in ("o", "n")
    )
    found = compare_neighbours(old, new)
    assert found["precision"] is None
    assert found["reasons"] == {"precision": "no work of both has a class"}
    assert found["queries"][0]["after"][0]["right"] is None


def test_which_is_better_is_judged_by_works_that_neither_model_has_seen(pair: Pair) -> None:
    """The old model saw w0 to w2, the new one w2 to w4: w5 to w7 count."""
    circle = on_a_circle(0, 10, 21, 100, 110, 121, 200, 215)
    labels = {"label": lambda i: "aabb"[i % 4]}
    old = pair.add(circle, "old", seen=lambda i: i <= 2, **labels)
    new = pair.add(circle, "new", seen=lambda i: 2 <= i <= 4, **labels)
    precision = compare_neighbours(old, new)["precision"]
    assert precision["queries"] == 2  # of w5 (a), w6 and w7 (b) one has nothing to find
    assert precision["of"] == "works that neither model has seen"


@pytest.fixture(scope="module")
def two_models(
    tmp_path_factory: pytest.TempPathFactory, collection: Path, tiny_model: Path, other_model: Path
) -> tuple[Path, str, str]:
    """Releases of one collection by models of 16 and of 24 numbers; titles are hostile."""
    folder = tmp_path_factory.mktemp("two-models")
    root = Path(shutil.copytree(collection, folder / "art"))
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
    rows = [json.dumps({"path": name, "title": f"{HOSTILE} {name}"}) for name in names]
    (root / "manifest.jsonl").write_text("\n".join(rows))
    releases = folder / "releases"
    old = make_release(root, tiny_model, releases)
    return releases, old, make_release(root, other_model, releases)


def test_two_models_have_figures_and_a_page(
    two_models: tuple[Path, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases, old, new = two_models
    page = tmp_path / "compare.html"
    arguments = ["compare", old, new, "--releases", str(releases), "--to", str(page)]
    assert artkin.main(arguments) == 0
    out = capsys.readouterr().out
    assert re.search(r"Overlap@5: 0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\) of a work's 5 nei", out)
    assert re.search(r"Precision@5: after minus before .* over 12 works that neither model", out)
    assert f"before and after, with pictures: {page}" in out
    assert artkin.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["old"]["model"], found["new"]["model"]) == ("tiny-1", "tiny-2")
    assert (found["old"]["dimension"], found["new"]["dimension"]) == (16, 24)
    text = page.read_text(encoding="utf-8")
    # Each of the 24 works with itself, five before and five after.
    assert text.count('src="data:image/webp;base64,') == 24 * 11
    assert (text.count("<h3>before</h3>"), text.count("<h3>after</h3>")) == (24, 24)
    assert text.count('class="stayed') == sum(2 * one["stayed"] for one in found["queries"])
    assert tags_of(text).isdisjoint({"script", "link", "iframe"})
    assert HOSTILE in found["queries"][0]["title"]
    assert f"<b>{escape(HOSTILE, quote=False)}" in text
    assert not re.findall(r"https?://|\b(?:src|href)=\"(?!data:)", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["OLD", "OLD"], "two releases must be named; received OLD twice"),
        (["OLD", "20200101T000000Z-0000"], "the release must be one of OLD, NEW; received '2020"),
        (["OLD", "NEW", "--k", "0"], "k must be from 1 to 20; received 0"),
        (["OLD", "NEW", "--to", "nowhere/x.html"], "--to must be a file in a folder that exists"),
        (["OLD", "NEW", "--to", "."], "--to must be a file in a folder that exists; received ."),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    two_models: tuple[Path, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    why: str,
) -> None:
    releases, old, new = two_models
    monkeypatch.chdir(tmp_path)
    options = [{"OLD": old, "NEW": new}.get(one, one) for one in options]
    assert artkin.main(["compare", *options, "--releases", str(releases)]) == 2
    err = capsys.readouterr().err
    assert why.replace("OLD", old).replace("NEW", new) in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_release_is_one_line(
    two_models: tuple[Path, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases, old, new = two_models
    copied = Path(shutil.copytree(releases, tmp_path / "releases"))
    index = copied / old / "index.faiss"
    index.write_bytes(index.read_bytes()[:-1])
    page = tmp_path / "page.html"
    assert artkin.main(["compare", old, new, "--releases", str(copied), "--to", str(page)]) == 2
    err = capsys.readouterr().err
    assert f"{old}: index.faiss is not the file that the manifest describes" in err
    assert err.count("\n") == 1
    assert not page.exists()


def test_releases_that_share_nothing_are_one_line(pair: Pair) -> None:
    from index.space.errors import BadInput

    old = pair.add(on_a_circle(0, 10), "old")
    new = pair.add(on_a_circle(0, 10, 20), "new", sha256=lambda _: "another")
    with pytest.raises(BadInput, match="share 2 works, 0 with the same picture"):
        compare_neighbours(old, new)


class TestInABrowser:
    pytestmark = needs_chromium

    def test_it_fits_a_phone_and_runs_nothing(
        self,
        two_models: tuple[Path, str, str],
        tmp_path: Path,
    ) -> None:
        releases, old, new = two_models
        page = tmp_path / "compare.html"
        arguments = ["compare", old, new, "--releases", str(releases), "--to", str(page)]
        assert artkin.main(arguments) == 0
        with start_chromium() as browser:
            browser.get(page.as_uri())
            for width in (1280, 390):
                browser.set_window_size(width, 900)
                wide = "return document.documentElement.scrollWidth - window.innerWidth"
                assert browser.execute_script(wide) <= 0
            assert browser.execute_script("return window.broken") is None
            assert browser.get_log("browser") == []
            seen = browser.execute_script(
                "return [...document.images].slice(0, 11).map((one) => one.naturalWidth)"
            )
            assert all(seen)
