"""The page of a real run, of runs under way, of damaged and of hostile ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artkin
from index.space.errors import ArtefactError, BadInput
from tests.browser import needs_chromium, start_chromium
from training.dataset import load_dataset
from training.report import write_report
from training.report.plots import WORKS, drawn_works
from training.report.tested import Asked, WorksTested, ask, confusion, drawn, most_confident_errors

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
SIDE = 32


@pytest.fixture
def copied(tmp_path: Path, run: Path) -> Path:
    """A finished run that may be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def made_up(folder: Path, names: list[str], labels: list[str], embeddings: np.ndarray) -> Path:
    """A run's folder as training leaves it, of made-up test works, half of them trained on too."""
    folder.mkdir()
    classes = sorted(set(labels))
    works = [
        {"name": name, "label": label, "sha256": "0" * 64, "grey": False, "part": part}
        for part in ("train", "test")
        for name, label in zip([f"{part}/{n}" for n in names], labels, strict=True)
    ]
    document = {"size": SIDE, "classes": classes, "files": {}, "works": works}
    (folder / "works.json").write_text(json.dumps(document))
    pixels = np.random.default_rng(0).integers(0, 256, (len(works), SIDE, SIDE, 3), np.uint8)
    (folder / "pixels.u8").write_bytes(pixels.tobytes())
    tested = {"names": np.array([f"test/{n}" for n in names]), "labels": np.array(labels)}
    vectors = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    np.savez(folder / "phase0_test.npz", **tested, embeddings=vectors)
    np.savez(
        folder / "phase1_test.npz", **tested, embeddings=vectors, predicted=np.array(labels[::-1])
    )
    epochs = [{"epoch": n, "validation_accuracy": n / 10, "loss": 1 / n} for n in (1, 2, 3)]
    phase = {"phase": 1, "trained_from": "head", "kept": True, "epochs": epochs}
    phase["test"] = {"accuracy": 0.5}
    report = {"classes": classes, "phases": [phase], "kept_phase": 1}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_training_ends_with_a_page_and_findings(run):
    report = json.loads((run / "report.json").read_text())
    assert len(report["summary"]) == 3
    assert report["summary"][0].startswith("Phase 1 trained the head alone")
    rules = {(finding["rule"], finding["phase"]) for finding in report["findings"]}
    assert ("unfreezing_decay", 3) in rules  # its rate is far too high on purpose
    assert ("test_size", None) in rules
    assert report["next_experiment"]["preset"] == "recommended"
    assert report["phases"][0]["embedding"]["dimension"] == 32
    page = (run / "report.html").read_text(encoding="utf-8")
    for title in ("Findings", "Learning curves: loss", "Errors of Precision@5", "Confusion"):
        assert title in page
    assert page.count("data:image/webp;base64,") > 20


def test_the_page_needs_no_network(mapped):
    page = (mapped / "report.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"https?://|\b(?:src|href)=\"(?!data:|#)", own)
    assert "default-src 'none'" in own


def test_the_same_run_gives_the_same_findings_again(copied, capsys):
    before = json.loads((copied / "report.json").read_text())
    (copied / "report.html").unlink()
    assert artkin.main(["report", str(copied)]) == 0
    assert json.loads((copied / "report.json").read_text()) == before
    assert (copied / "report.html").exists()
    assert "next experiment: Train recommended again" in capsys.readouterr().out


def test_a_run_under_way_has_a_page_of_the_phases_that_have_ended(copied):
    (copied / "report.json").unlink()
    (copied / "phase3_test.npz").unlink()
    with np.load(copied / "state.npz") as arrays:
        state = dict(arrays)
    counters = json.loads(str(state["counters"]))
    counters["reports"], counters["kept"] = counters["reports"][:2], 1
    state["counters"] = np.array(json.dumps(counters))
    np.savez(copied / "state.npz", **state)
    report = write_report(copied)
    assert len(report["summary"]) == 2
    assert "This run is not over" in (copied / "report.html").read_text(encoding="utf-8")
    assert not (copied / "report.json").exists()  # that would say it has ended

    counters["reports"] = []
    state["counters"] = np.array(json.dumps(counters))
    np.savez(copied / "state.npz", **state)
    with pytest.raises(BadInput, match=r"no phase of the run in .* has ended"):
        write_report(copied)


def test_a_folder_without_a_run_is_one_line(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert artkin.main(["report", str(folder)]) == 2
        stderr = capsys.readouterr().err
        assert stderr.startswith(f"artkin report: error: {folder} must be the folder of a training")
        assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["report.json", "works.json", "pixels.u8", "phase0_test.npz", "phase3_test.npz"]
)
def test_a_damaged_file_is_one_line(copied, name):
    whole = (copied / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"[]"):
        (copied / name).write_bytes(damaged)
        with pytest.raises(ArtefactError, match=rf"{name} is missing or damaged") as caught:
            write_report(copied)
        assert "\n" not in str(caught.value)


def test_test_works_of_another_run_are_damage(copied):
    with np.load(copied / "phase2_test.npz") as arrays:
        other = dict(arrays)
    other["names"] = np.array([f"other/{name}" for name in other["names"]])
    np.savez(copied / "phase2_test.npz", **other)
    with pytest.raises(ArtefactError, match=r"phase2_test\.npz is missing or damaged"):
        write_report(copied)


def test_a_report_with_holes_has_a_page_all_the_same(copied):
    (copied / "report.json").write_text('{"phases": [{"phase": 1, "epochs": null}, null, 3]}')
    report = write_report(copied)
    assert len(report["summary"]) == 3
    assert set(report["data"]["by_class"]) == {"baroque", "cubism", "ukiyo_e"}


def test_a_run_that_trained_nothing_shows_the_untrained_features(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    folder = made_up(tmp_path / "run", [f"{n}" for n in range(20)], ["x", "y"] * 10, vectors)
    skipped = {"phases": [{"phase": 1, "skipped": True, "kept": False}], "kept_phase": None}
    (folder / "report.json").write_text(json.dumps(skipped))
    assert write_report(folder)["summary"] == ["Phase 1 was skipped."]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "by the untrained features" in page
    assert "Confusion" not in page


def test_of_many_classes_the_confused_are_listed_and_not_tabled(tmp_path):
    labels = [f"class {n:02}" for n in range(35)] * 2
    vectors = np.random.default_rng(0).normal(size=(70, 8))
    folder = made_up(tmp_path / "run", [f"{n}" for n in range(70)], labels, vectors)
    write_report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Most often confused" in page
    assert 'class="confusion"' not in page


def test_a_single_test_work_has_a_page(tmp_path):
    write_report(made_up(tmp_path / "run", ["a"], ["x"], np.ones((1, 4))))


def test_few_works_or_equal_vectors_have_no_maps_and_say_why(tmp_path):
    few = made_up(tmp_path / "few", list("abcd"), list("xxyy"), np.eye(4))
    write_report(few)
    assert "maps take 8 test works at least" in (few / "report.html").read_text(encoding="utf-8")
    names = [f"{n}" for n in range(20)]
    same = made_up(tmp_path / "same", names, ["x", "y"] * 10, np.ones((20, 4)))
    report = write_report(same)
    assert "all test works have the same vector" in (same / "report.html").read_text("utf-8")
    assert "collapse" in {finding["rule"] for finding in report["findings"]}


def test_more_works_than_are_drawn_are_drawn_by_a_fixed_seed():
    assert drawn_works(12).tolist() == list(range(12))
    many = drawn_works(WORKS + 500)
    assert len(set(many.tolist())) == WORKS
    assert (many == drawn_works(WORKS + 500)).all()


@pytest.fixture
def tested() -> WorksTested:
    """Two pairs and a stranger: a a b b a, on a circle at 0, 10, 60, 75 and 80 degrees."""
    angles = np.radians([0, 10, 60, 75, 80])
    return WorksTested(
        phase=1,
        names=list("pqrst"),
        labels=list("aabba"),
        rows=np.arange(5),
        embeddings=np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
        predicted=list("abbba"),
    )


def test_answers_are_nearest_first_and_marked(tested):
    asked = ask(tested)
    stranger = asked[4]
    assert stranger.answers == [3, 2, 1, 0]
    assert stranger.cosines == pytest.approx(np.cos(np.radians([5, 20, 70, 80])), abs=1e-6)
    assert stranger.wrong == [True, True, False, False]
    assert stranger.confidence == pytest.approx(np.cos(np.radians([5, 20])).sum())


def test_errors_come_most_confident_first():
    def asked(query: int, cosines: list[float], wrong: list[bool]) -> Asked:
        return Asked(query, [1, 2], cosines, wrong)

    sure, half, right = (
        asked(0, [0.9, 0.8], [True, True]),
        asked(1, [0.99, 0.9], [True, False]),
        asked(2, [0.99, 0.9], [False, False]),
    )
    assert most_confident_errors([right, half, sure]) == [sure, half]


def test_the_gallery_has_works_of_every_class(tested):
    shown = drawn(ask(tested), tested)
    assert sorted(a.query for a in shown) == [0, 1, 2, 3, 4]
    assert [tested.labels[a.query] for a in shown] == list("aaabb")


def test_confusion_counts_by_class_and_by_class_given(tested):
    assert confusion(tested, ["a", "b"]).tolist() == [[2, 1], [0, 2]]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 test works in three groups, its page written. Don't change it."""
    groups = np.repeat(np.eye(3, 16) * 3, 20, axis=0)
    vectors = groups + np.random.default_rng(0).normal(size=(60, 16))
    names, labels = [f"{n:02}.jpg" for n in range(60)], np.repeat(["a", "b", "c"], 20).tolist()
    folder = made_up(tmp_path_factory.mktemp("mapped") / "run", names, labels, vectors)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with start_chromium() as driver:
        yield driver


class TestInABrowser:
    pytestmark = needs_chromium

    def open(self, chromium: Any, page: Path) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        chromium.get_log("browser")
        chromium.get(page.as_uri())
        drawn = "return document.querySelectorAll('.plot .bk-Figure').length"
        WebDriverWait(chromium, 20).until(lambda driver: driver.execute_script(drawn) >= 3)

    def complaints(self, chromium: Any) -> list[str]:
        return [line["message"] for line in chromium.get_log("browser") if line["level"] != "INFO"]

    @pytest.mark.parametrize("width", [500, 1280])
    def test_the_page_is_drawn_from_its_file_and_nothing_sticks_out(self, chromium, mapped, width):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.open(chromium, mapped / "report.html")
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
        assert self.complaints(chromium) == []

    def test_pointing_at_a_work_shows_it(self, chromium, mapped):
        self.open(chromium, mapped / "report.html")
        assert self.tooltip_somewhere(chromium).startswith("data:image/webp")

    def tooltip_somewhere(self, chromium: Any) -> str:
        """Move over a map until a thumbnail is shown; its address."""
        from selenium.webdriver.common.action_chains import ActionChains

        found = """
        const inside = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
          [e, ...(e.shadowRoot ? inside(e.shadowRoot) : [])]);
        const image = inside(document).find((e) => e.matches("img") && e.closest(".thumb"));
        return image && image.naturalWidth ? image.src : null;
        """
        plot = chromium.find_element("css selector", "#maps .plot")
        chromium.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
        width, height = plot.size["width"], plot.size["height"]
        for x in range(-int(width * 0.4), int(width * 0.4), 8):
            for y in range(-int(height * 0.35), int(height * 0.35), 12):
                ActionChains(chromium, duration=0).move_to_element_with_offset(plot, x, y).perform()
                if source := chromium.execute_script(found):
                    return str(source)
        raise AssertionError("no thumbnail anywhere on the map")

    def test_names_of_files_and_classes_are_text_and_nothing_else(self, chromium, tmp_path):
        names = [f"{HOSTILE}{n}\n\u2028'\"{{{{ 7 * 7 }}}}.jpg" for n in range(20)]
        vectors = np.random.default_rng(0).normal(size=(20, 4))
        folder = made_up(tmp_path / "run", names, [HOSTILE, "{{ 7 * 7 }}"] * 10, vectors)
        write_report(folder)
        self.open(chromium, folder / "report.html")
        assert chromium.execute_script("return window.broken") is None
        assert chromium.execute_script("return document.querySelectorAll('[onerror]').length") == 0
        assert "{{ 7 * 7 }}" in chromium.find_element("id", "classes").text
        assert HOSTILE in chromium.find_element("id", "classes").text
        assert self.complaints(chromium) == []


def test_the_pictures_are_those_of_the_works(run):
    """Row i of the page's works is row i of the pixels."""
    import base64
    import io

    from PIL import Image

    dataset = load_dataset(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    name = dataset.names[dataset.parts["test"][0]]
    found = re.search(rf'<img src="data:image/webp;base64,([^"]+)"[^>]* title="{name}"', page)
    assert found
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB"), float)
    difference = np.abs(shown - dataset.pixels[dataset.parts["test"][0]])
    assert difference.mean() < 12  # WebP's own loss; another work's picture differs by 40 and more
