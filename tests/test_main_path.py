"""The README's commands on the sample collection, in its order, at a smaller size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import artkin
from index.collection import read_collection
from index.release import open_release
from index.releases import current_release

SAMPLE = Path(__file__).parents[1] / "examples" / "art_institute"
QUERY = "test/1890s/claude-monet_the-customs-house-at-varengeville_16542.jpg"


def run(*words: object) -> str:
    command = [sys.executable, "artkin.py", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/, models/art-1 and a published release of all but one work."""
    place = tmp_path_factory.mktemp("made")
    run("train", SAMPLE, "--preset", "seed", "--size", 64, "--run", place / "run")
    run("export", place / "run", "--to", place / "models" / "art-1")
    index = ("index", SAMPLE, "--model", place / "models" / "art-1")
    run(*index, "--releases", place / "releases", "--exclude", QUERY)
    run("publish", "--releases", place / "releases")
    return place


@pytest.mark.slow
def test_training_and_release_give_the_same_precision(made: Path) -> None:
    """Of works the model has not seen: the test part, less the one left out of the index."""
    run("index", SAMPLE, "--model", made / "models" / "art-1", "--releases", made / "all")
    run("publish", "--releases", made / "all")
    found = json.loads(run("evaluate", "--releases", made / "all", "--json"))
    report = json.loads((made / "run" / "report.json").read_text())
    test = report["phases"][report["kept_phase"] - 1]["test"]
    assert found["unseen"]["works"] == test["works"] == 86
    assert found["unseen"]["precision"] == pytest.approx(test["precision"], abs=1 / (86 * 5))
    assert found["unseen"]["silhouette"] == pytest.approx(test["silhouette"], abs=1e-4)


@pytest.mark.slow
def test_the_release_knows_its_works(made: Path) -> None:
    release = open_release(current_release(made / "releases"))
    assert len(release.catalogue) == 266
    works = {work.id: work for work in read_collection(SAMPLE).works}
    for entry in release.catalogue.entries():
        assert entry.metadata["title"] == works[entry.id].metadata["title"]
        assert entry.label == works[entry.id].label
    assert sum(entry.greyscale for entry in release.catalogue.entries()) == 40
    release.close()


def test_the_sample_collection_is_what_its_readme_says() -> None:
    collection = read_collection(SAMPLE)
    assert len(collection.works) == 267
    assert all(work.metadata["licence"] == "CC0-1.0" for work in collection.works)
    assert all({"title", "artist", "date"} <= work.metadata.keys() for work in collection.works)
    assert len({work.label for work in collection.works}) == 8
    assert not collection.warnings
    assert sum(work.path.stat().st_size for work in collection.works) < 15e6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no/such/folder",), "must be a folder"),
        (("{empty}",), "holds no pictures"),
        (("{one_class}",), "at least two class folders"),
        (("{single}",), "baroque has 1"),
        (("{good}", "--preset", "bogus"), "one of artkin, recommended, seed; received 'bogus'"),
        (("{good}", "--backbone", "b99"), "one of lite0"),
        (("{good}", "--size", "7"), "from 32 to 1024"),
        (("{good}", "--resume"), "holds no run to resume"),
        (("{good}", "--seed", "-1"), "--seed must be from 0 to 4294967295; received -1"),
        (("{good}", "--seed", "4294967296"), "received 4294967296"),
    ],
)
def test_bad_input_to_train_is_one_line_and_exit_2(
    tmp_path: Path, painted_collection, capsys, arguments, said
) -> None:
    pytest.importorskip("tensorflow")
    places = {
        "empty": tmp_path / "empty",
        "one_class": painted_collection(tmp_path / "one", styles=("baroque",)),
        "single": painted_collection(tmp_path / "single", each=3),
        "good": painted_collection(tmp_path / "good"),
    }
    places["empty"].mkdir()
    for path in sorted((places["single"] / "baroque").iterdir())[1:]:
        path.unlink()
    words = [word.format(**places) for word in arguments]
    assert artkin.main(["train", *words, "--run", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err.strip()
    assert said in errors
    assert len(errors.splitlines()) == 1


def one_error_line(*words: object) -> str:
    command = [sys.executable, "artkin.py", *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    return ended.stderr


def test_a_full_disk_stops_training_in_one_line_and_resume_goes_on(
    small_disk, tmp_path: Path, painted_collection, monkeypatch, capsys
) -> None:
    """The pictures and the untrained network fit, the first epoch's state does not; then there is
    room."""
    from tests.training.short import SHORT, add_short_backbone

    add_short_backbone()
    monkeypatch.setattr("training.fit.STEPS_AT_LEAST", 4)
    folder = tmp_path / "small"
    small_disk(folder, "10m")
    root = painted_collection(tmp_path / "art", each=3)
    command = ["train", str(root), "--preset", "seed", "--backbone", SHORT]
    command += ["--run", str(folder / "run")]
    assert artkin.main(command) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "the disk is full" in said
    assert "go on with --resume" in said
    small_disk(folder, "400m")
    assert artkin.main([*command, "--resume"]) == 0
    assert "phase 3 ends" in capsys.readouterr().out


@pytest.mark.slow
def test_a_full_disk_stops_export_in_one_line_and_leaves_nothing(
    small_disk, tmp_path: Path, made: Path
) -> None:
    folder = tmp_path / "small"
    small_disk(folder, "6m")
    command = ["export", made / "run", "--to", folder / "art-1"]
    assert "the disk is full" in one_error_line(*command)
    assert not list(folder.iterdir())
    small_disk(folder, "400m")
    assert "exported" in run(*command)


def test_a_failed_start_leaves_nothing_to_trip_over(tmp_path, painted_collection, capsys) -> None:
    """After bad input the same command, its input mended, needs no --resume."""
    root = painted_collection(tmp_path / "art", styles=("baroque",))
    command = ["train", str(root), "--run", str(tmp_path / "run"), "--size", "32"]
    assert artkin.main(command) == 2
    assert not (tmp_path / "run" / "run.json").exists()
