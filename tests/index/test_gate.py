"""The gate before a switch: each check passes and fails where it must."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.gate import Check, judge
from index.release import Release, open_release
from tests.app.conftest import write_synthetic

CLASSES = 4


def clustered(works: int, spread: float, seed: int = 0) -> np.ndarray:
    """Works around their classes' directions."""
    rng = np.random.default_rng(seed)
    vectors = np.eye(16)[np.arange(works) % CLASSES] + rng.normal(0, spread, (works, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def release(tmp_path: Path, tiny_model: Path):
    """A factory of opened releases of given vectors."""
    opened: list[Release] = []

    def make(vectors: np.ndarray, files: str = "0") -> Release:
        folder = tmp_path / str(len(opened))
        digests = {"sha256": lambda row: f"{files}{row:063x}"}
        id_ = write_synthetic(folder, tiny_model, len(vectors), CLASSES, vectors, **digests)
        opened.append(open_release(folder / id_))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def check(candidate: Release, served: Release | None, name: str) -> Check:
    (found,) = [check for check in judge(candidate, served).checks if check.name == name]
    return found


def test_the_first_release_has_nothing_to_be_compared_with(release) -> None:
    verdict = judge(release(clustered(40, 0.1)), None)
    assert verdict.against is None
    assert verdict.failed == []
    assert [(one.name, one.before, one.after) for one in verdict.checks] == [
        *(("recall", None, 1.0), ("precision_at_5", None, 1.0)),
    ]


def test_the_same_works_pass_every_check(release) -> None:
    vectors = clustered(40, 0.1)
    verdict = judge(release(vectors), release(vectors))
    assert [(one.name, one.passed) for one in verdict.checks] == [
        *(("recall", True), ("works", True), ("works gone", True)),
        *(("canaries", True), ("precision_at_5", True)),
    ]


@pytest.mark.parametrize(("works", "passed"), [(36, True), (35, False), (80, True)])
def test_a_tenth_of_the_works_may_go(release, works: int, passed: bool) -> None:
    vectors = clustered(80, 0.1)
    found = check(release(vectors[:works]), release(vectors[:40]), "works")
    assert (found.before, found.after, found.passed) == (40, works, passed)


@pytest.mark.parametrize(("works", "passed"), [(20, True), (19, False)])
def test_half_of_the_works_may_be_gone(release, works: int, passed: bool) -> None:
    vectors = clustered(40, 0.1)
    found = check(release(vectors[:works], "a"), release(vectors, "b"), "works gone")
    assert (found.before, found.after, found.passed) == (40, 40 - works, passed)


def test_works_of_other_ids_are_there_by_their_files(release, monkeypatch) -> None:
    vectors = clustered(40, 0.1)
    served, renamed, others = (
        *(release(vectors, "a"), release(vectors, "a")),
        release(vectors, "b"),
    )
    for one in (renamed, others):
        monkeypatch.setattr(one.catalogue, "by_id", lambda _: None)
    assert check(renamed, served, "works gone").after == 0
    found = check(others, served, "works gone")
    assert (found.after, found.passed, found.note) == (40, False, "is it the same collection?")


def test_worse_neighbours_are_refused_with_both_numbers(release) -> None:
    good, bad = release(clustered(200, 0.05)), release(clustered(200, 3.0))
    found = check(bad, good, "precision_at_5")
    assert found.before == 1.0
    assert found.after is not None
    assert found.after < 0.5
    assert not found.passed
    assert "before 1, now 0." in judge(bad, good).reasons()
    assert check(good, bad, "precision_at_5").passed  # better is no worse


def test_a_difference_that_may_be_chance_passes(release) -> None:
    """Of 24 works, lower by 0.075 with an interval of -0.175 to 0.025."""
    found = check(release(clustered(24, 0.6, 0)), release(clustered(24, 0.6, 1)), "precision_at_5")
    assert (found.before, found.after) == (pytest.approx(0.375), pytest.approx(0.3))
    assert found.passed


def test_a_work_that_answers_canaries_must_keep_its_vector(release) -> None:
    vectors = clustered(40, 0.1)
    served = release(vectors)
    answer = served.catalogue.by_id(served.manifest.canaries[0].neighbours[0])
    assert answer is not None
    moved = vectors.copy()
    moved[answer.row] = -moved[answer.row]
    found = check(release(moved), served, "canaries")
    assert found.after == pytest.approx(-1)
    assert not found.passed


def test_an_index_that_misses_neighbours_is_refused(release, monkeypatch) -> None:
    """An approximate index may take the place of FAISS's exact one; this one searches a half."""
    candidate = release(clustered(200, 1.0))
    whole = candidate.vectors.search

    class Half:
        def __getattr__(self, name: str) -> object:
            return getattr(candidate.vectors, name)

        def __len__(self) -> int:
            return len(candidate.vectors)

        def search(self, queries: np.ndarray, k: int, rows: object = None):
            return whole(queries, k, np.arange(0, 200, 2))

    poor = Release(candidate.held, candidate.folder, candidate.manifest, candidate.catalogue,
                   Half(), candidate.thumbnails)  # fmt: skip
    found = check(poor, None, "recall")
    assert found.after is not None
    assert found.after < 0.7
    assert not found.passed


def test_a_mixed_up_column_of_classes_is_refused(release) -> None:
    """The same vectors: each release is judged by the classes it has itself."""
    vectors = clustered(200, 0.05)
    served, mixed = release(vectors), release(vectors)
    names = np.random.default_rng(0).permutation([f"class{n % CLASSES}" for n in range(200)])
    entries = [
        replace(entry, label=str(name))
        for entry, name in zip(list(mixed.catalogue.entries()), names, strict=True)
    ]
    for entry in entries:
        mixed.catalogue.delete(entry.row)
        mixed.catalogue.insert(entry)
    mixed.catalogue.entries = lambda: iter(entries)  # of the file, which stays as it was
    found = check(mixed, served, "precision_at_5")
    assert found.before == 1.0
    assert found.after is not None
    assert found.after < 0.4
    assert not found.passed
