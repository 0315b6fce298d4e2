"""`artkin evaluate`: the headline is over works the model has not seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import artkin
from index.evaluation import evaluate_release
from index.looks import pictures
from index.progress import figure
from index.protocols import embeddings_of, robustness
from index.publish import publish
from index.release import Release, open_release
from index.releases import current_release, release_ids
from index.robustness import same_work_recall
from index.space.artefact import sha256_of, write_manifest
from index.space.encoder import Encoder
from index.space.errors import BadInput
from index.space.metrics import evaluate, leave_one_out
from index.space.model import SEEN_WORKS, UNTRAINED, load_model
from index.space.preprocessing import to_pixels
from tests.conftest import Painter, paint
from tests.releases import make_release


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = artkin.main(["evaluate", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def pixels_encoded(encoder: Encoder, images: Iterable[Image.Image]) -> NDArray[np.float32]:
    spec = encoder.model.manifest.preprocessing
    return encoder.encode(np.stack([to_pixels(image, spec) for image in images]))


@pytest.fixture
def release(published: Path) -> Release:
    return open_release(current_release(published))


@pytest.fixture
def mixed(tmp_path: Path, tiny_model: Path, painted_collection: Painter) -> Release:
    """A release in which one picture of each class lies in another's folder; all unseen."""
    root = painted_collection(tmp_path / "mixed", each=6, seed=5)
    (root / "cubism" / "cubism-0.png").rename(root / "baroque" / "wrong.png")
    (root / "baroque" / "baroque-0.png").rename(root / "ukiyo_e" / "wrong.png")
    return open_release(tmp_path / "r" / make_release(root, tiny_model, tmp_path / "r"))


def test_unseen_is_what_the_report_of_training_measures(release: Release) -> None:
    """Leave-one-out among the test works alone, by the one implementation."""
    entries = [entry for entry in release.catalogue.entries() if entry.split == "test"]
    embeddings = release.vectors.get(np.array([entry.row for entry in entries]))
    parts = release.manifest.parts
    expected = evaluate(embeddings, [str(entry.label) for entry in entries], 5, parts=parts)
    assert evaluate_release(release)["unseen"] == expected.as_dict()


def test_all_is_over_every_labelled_work(release: Release) -> None:
    result = evaluate_release(release, k=3)
    entries = list(release.catalogue.entries())
    embeddings = release.vectors.get(np.arange(24))
    labels = [str(entry.label) for entry in entries]
    expected = evaluate(embeddings, labels, 3, parts=release.manifest.parts)
    assert result["all"] == expected.as_dict()
    assert (result["works"], result["labelled"], result["k"]) == (24, 24, 3)
    assert (result["release"], result["model"]) == (release.id, "tiny-1")
    assert "'unseen' counts: 12 works" in result["note"]
    assert "flatters" in result["note"]


def test_errors_are_the_most_confident_first(mixed: Release) -> None:
    result = evaluate_release(mixed)
    errors = result["errors"]
    assert 2 <= len(errors) <= 20
    assert [e["score"] for e in errors] == sorted((e["score"] for e in errors), reverse=True)
    for error in errors:
        query = mixed.catalogue.by_id(error["query"])
        neighbour = mixed.catalogue.by_id(error["neighbour"])
        assert query is not None
        assert neighbour is not None
        assert (query.label, neighbour.label) == (error["query_label"], error["neighbour_label"])
        assert query.label != neighbour.label
        one, other = mixed.vectors.get(np.array([query.row, neighbour.row]))
        assert error["score"] == pytest.approx(one @ other, abs=1e-6)
    wrong = {error["query"] for error in errors}
    misplaced = {e.id for e in mixed.catalogue.entries() if e.name.endswith("wrong.png")}
    assert misplaced <= wrong


def test_a_model_that_saw_everything_has_only_flattering_numbers(
    collection: Path, tiny_model: Path, tmp_path: Path
) -> None:
    id_ = make_release(collection / "train", tiny_model, tmp_path / "r")
    result = evaluate_release(open_release(tmp_path / "r" / id_))
    assert result["unseen"] is None
    assert result["all"]["works"] == 12
    assert "trained on all but 0 of the 12 labelled works" in result["note"]
    assert "flatter" in result["note"]


def test_works_without_classes_have_no_numbers_and_a_reason(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(3):
        paint("cubism", number).save(tmp_path / "flat" / f"{number}.png")
    id_ = make_release(tmp_path / "flat", tiny_model, tmp_path / "r")
    capsys.readouterr()
    code, out, err = run(capsys, "--releases", tmp_path / "r", "--release", id_, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["unseen"], result["all"], result["errors"]) == (None, None, [])
    assert "no work has a label" in result["note"]
    code, out, _ = run(capsys, "--releases", tmp_path / "r", "--release", id_)
    assert code == 0
    assert "no work has a label" in out


def test_one_labelled_work_has_no_precision(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "a").mkdir(parents=True)
    paint("cubism", 1).save(tmp_path / "one" / "a" / "1.png")
    result = evaluate_release(
        open_release(tmp_path / "r" / make_release(tmp_path / "one", tiny_model, tmp_path / "r"))
    )
    assert result["all"]["precision"] is None
    assert result["errors"] == []


def test_one_work_has_no_recall_of_changed_pictures(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one" / "a").mkdir(parents=True)
    paint("cubism", 1).save(tmp_path / "one" / "a" / "1.png")
    release = make_release(tmp_path / "one", tiny_model, tmp_path / "r")
    options = ("--releases", tmp_path / "r", "--release", release, "--model", tiny_model)
    capsys.readouterr()
    code, out, _ = run(capsys, *options, "--json")
    result = json.loads(out)
    assert (code, result["robustness"]["recall"]["value"]) == (0, None)
    assert "no other work" in result["reasons"]["robustness"]
    assert "no other work" in run(capsys, *options)[1]


def test_the_console_shows_both_sets(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--releases", published)
    assert (code, err) == (0, "")
    for part in ("unseen (12)", "all (24)", "Precision@5", "silhouette, cosine", "ukiyo_e"):
        assert part in out


def test_the_console_says_the_denominator_where_fewer_than_k_others_exist(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 unseen works among 24."""
    for k, title in (
        (11, "Precision@11  "),
        (15, "Precision@15 (of 11 and 15 others)"),
        (1000, "Precision@1000 (of 11 and 23 others)"),
    ):
        code, out, err = run(capsys, "--releases", published, "--k", k)
        assert (code, err) == (0, "")
        assert title in out


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.00004, "0.0000"), (-0.0, "0.0000"), (-0.00006, "-0.0001"), (0.12345, "0.1235")],
)
def test_a_number_that_rounds_to_zero_has_no_sign(value: float, shown: str) -> None:
    assert figure(value, digits=4) == shown


def test_json_is_what_the_function_returns(
    published: Path, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "--releases", published, "--json", "--k", 2)
    expected = json.loads(json.dumps(evaluate_release(release, k=2)))
    assert (code, json.loads(out)) == (0, expected)


def test_bad_options_are_said(
    published: Path, release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "--releases", published, "--k", 0)[0] == 2
    code, _, err = run(capsys, "--releases", tmp_path)
    assert code == 2
    assert "nothing is published" in err
    code, _, err = run(capsys, "--releases", published, "--release", "x")
    assert code == 2
    assert release_ids(published)[0] in err
    with pytest.raises(BadInput, match="k must be >= 1"):
        evaluate_release(release, k=0)


def test_a_damaged_release_is_not_evaluated(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = Path(shutil.copytree(published, tmp_path / "r", symlinks=True))
    with (current_release(releases) / "catalogue.sqlite").open("ab") as file:
        file.write(b"\0")
    code, out, err = run(capsys, "--releases", releases)
    assert (code, out) == (2, "")
    assert "catalogue.sqlite is not the file that the manifest describes" in err


def test_protocols_and_baselines_of_a_release(release: Release) -> None:
    result = evaluate_release(release)
    against = result["protocols"]["against_seen"]["measured"]
    assert (against["queries"], against["gallery"]) == (12, 12)
    assert result["protocols"]["artist_disjoint"]["measured"] is None
    assert "column `artist`" in result["protocols"]["artist_disjoint"]["note"]
    apart = result["protocols"]["near_duplicate_disjoint"]
    assert apart["measured"]["works"] == 12
    baselines = result["baselines"]
    assert baselines["works"] == 12
    assert baselines["measured"]["model"]["measures"] == result["unseen"]["measures"]
    histogram = baselines["measured"]["colour_histogram"]
    assert histogram["chance"] == pytest.approx(3 / 11)
    assert 0 <= histogram["precision"] <= 1
    assert "imagenet_features" not in baselines["measured"]
    assert "--model" in baselines["reasons"]["imagenet_features"]
    assert result["robustness"] is None
    assert "--model" in result["reasons"]["robustness"]


def test_artists_and_copies_are_not_found(
    tmp_path: Path, tiny_model: Path, painted_collection: Painter
) -> None:
    """Each picture is there twice; each class has one painter, but of one work nobody knows who."""
    root = painted_collection(tmp_path / "c", each=3, seed=8)
    rows = ["path,artist"]
    for path in sorted(root.rglob("*.*")):
        copy = path.with_name(f"copy of {path.stem}.jpg")
        with Image.open(path) as image:
            image.convert("RGB").save(copy, quality=70)
        name = path.parent.name if not path.stem.endswith("0") else "Artist unknown"
        names = {path: name, copy: f"{name} (French)"}
        rows += [f"{p.relative_to(root).as_posix()},{name}" for p, name in names.items()]
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    result = evaluate_release(
        open_release(tmp_path / "r" / make_release(root, tiny_model, tmp_path / "r")), k=1
    )
    copies = result["protocols"]["near_duplicate_disjoint"]
    assert "18 of the 18 works looked at have one" in copies["note"]
    assert copies["measured"]["findable"] == 16
    artists = result["protocols"]["artist_disjoint"]
    assert "6 without an artist's name find all" in artists["note"]
    assert artists["measured"]["findable"] == 14
    assert artists["measured"]["queries_without_relevant"] == 0


def test_robustness_with_the_model(
    published: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--releases", published, "--model", tiny_model)
    code, out, _ = run(capsys, *options, "--json")
    found = json.loads(out)["robustness"]
    assert (code, found["of"], found["works"], found["gallery"]) == (0, "unseen", 12, 24)
    assert found["by_perturbation"]["unchanged"]["value"] > 0.5
    baselines = json.loads(out)["baselines"]
    untrained = baselines["measured"]["imagenet_features"]
    # The same works, in what the model's other network gives their thumbnails.
    release = open_release(current_release(published))
    unseen = [entry for entry in release.catalogue.entries() if not entry.seen]
    encoder = Encoder(load_model(tiny_model), batch=1, saved_model=UNTRAINED)
    features = pixels_encoded(encoder, pictures(release, unseen))
    expected = leave_one_out(features, [str(entry.label) for entry in unseen])
    assert features.shape == (12, 8)
    assert untrained == json.loads(json.dumps(expected.as_dict()))
    assert "imagenet_features" not in baselines["reasons"]
    code, out, _ = run(capsys, *options)
    assert code == 0
    for part in (
        "same-work recall@1, 12 works among 24",
        "white balance",
        "colour histogram",
        "of the model's network before training",
    ):
        assert part in out


def test_a_model_without_its_features_of_before_is_said(
    collection: Path, other_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = tmp_path / "r"
    publish(releases, make_release(collection, other_model, releases))
    capsys.readouterr()
    code, out, _ = run(capsys, "--releases", releases, "--model", other_model, "--json")
    baselines = json.loads(out)["baselines"]
    assert code == 0
    assert "imagenet_features" not in baselines["measured"]
    assert "export it again" in baselines["reasons"]["imagenet_features"]


def test_another_scan_is_the_same_work(
    tmp_path: Path, tiny_model: Path, painted_collection: Painter
) -> None:
    """Every work is there as two files: whichever comes first, the work is found."""
    root = painted_collection(tmp_path / "c", each=3, seed=8)
    for path in sorted(root.rglob("*.*")):
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_name(f"scan of {path.stem}.jpg"), quality=40)
    release = open_release(tmp_path / "r" / make_release(root, tiny_model, tmp_path / "r"))
    entries = list(release.catalogue.entries())
    encoder = Encoder(load_model(tiny_model), batch=1)
    found = robustness(release, entries, encoder)["by_perturbation"]
    by_file = same_work_recall(
        pictures(release, entries),
        lambda images: pixels_encoded(encoder, images),
        embeddings_of(release, entries),
        range(len(entries)),
    ).by_perturbation
    assert by_file["jpeg"].value < 0.8
    assert found["jpeg"]["value"] > 0.9


def test_another_model_is_refused(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_model: Path
) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "tiny-1"))
    (other / "saved_model" / "more").write_text("x")
    manifest = load_model(tiny_model).manifest
    write_manifest(other, manifest)
    code, _, err = run(capsys, "--releases", published, "--model", other)
    assert code == 2
    assert "was made by another model" in err


def test_two_releases_are_compared_over_the_works_of_both(
    tmp_path: Path,
    tiny_model: Path,
    painted_collection: Painter,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = painted_collection(tmp_path / "c", each=5, seed=6)
    first = make_release(root, tiny_model, tmp_path / "r")
    (root / "baroque" / "baroque-0.png").unlink()
    second = make_release(root, tiny_model, tmp_path / "r")
    capsys.readouterr()
    options = ("--releases", tmp_path / "r", "--release", first, "--against", second)
    code, out, _ = run(capsys, *options, "--json")
    found = json.loads(out)["comparison"]
    assert (code, found["release"], found["works"], found["queries"]) == (0, second, 14, 14)
    assert (found["difference"]["value"], found["p_value"], found["real"]) == (0, 1, False)
    assert found["of"] == "works that neither model has seen"
    code, out, _ = run(capsys, *options)
    assert code == 0
    assert "the difference may be chance" in out
    code, _, err = run(capsys, "--releases", tmp_path / "r", "--release", first, "--against", "x")
    assert code == 2
    assert second in err


def test_what_the_other_model_was_trained_on_does_not_judge(
    published: Path, collection: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """This model has seen train/, the other test/: no work is left that is fair to both."""
    other = Path(shutil.copytree(tiny_model, tmp_path / "tiny-3"))
    unseen = sorted(sha256_of(path) for path in (collection / "test").rglob("*.*"))
    (other / SEEN_WORKS).write_text("\n".join(unseen) + "\n", encoding="ascii")
    write_manifest(other, load_model(tiny_model).manifest.model_copy(update={"version": "3"}))
    against = open_release(tmp_path / "r" / make_release(collection, other, tmp_path / "r"))
    release = open_release(current_release(published))
    found = evaluate_release(release, other=against)
    assert found["unseen"]["works"] == 12
    assert found["comparison"]["works"] == 24
    assert "which flatters" in found["comparison"]["of"]
