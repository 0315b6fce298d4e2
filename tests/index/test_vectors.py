"""FAISS behind the seam, judged against exact search in numpy."""

from __future__ import annotations

import threading
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.space.errors import ArtefactError, BadInput
from index.vectors import FaissVectors, write_index

DIMENSION = 24


def unit(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(count: int, rows: np.ndarray | None = None) -> tuple[FaissVectors, np.ndarray]:
    xb = unit(count)
    vectors = FaissVectors(DIMENSION)
    vectors.add(xb, np.arange(count) if rows is None else rows)
    return vectors, xb


def brute_force(xq: np.ndarray, xb: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    return rows[np.argsort(-(xq @ xb.T), axis=1, kind="stable")[:, :k]]


@pytest.mark.parametrize("queries", [1, 7, 100])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_it_finds_what_exact_search_finds(queries: int, k: int) -> None:
    vectors, xb = filled(2000)
    xq = unit(queries, seed=1)
    scores, rows = vectors.search(xq, k)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    truth = brute_force(xq, xb, np.arange(2000), k)
    exact = xq.astype(np.float64) @ xb.astype(np.float64).T
    assert np.allclose(scores, np.take_along_axis(exact, truth, 1), atol=1e-6)
    assert np.allclose(scores, np.take_along_axis(exact, rows, 1), atol=1e-6)
    # Two works may change places only where rounding decides between them.
    assert (rows == truth).mean() > 0.999


@pytest.mark.parametrize("count", [0, 1, 3])
def test_k_larger_than_what_there_is_gives_each_once(count: int) -> None:
    vectors, _ = filled(count)
    scores, rows = vectors.search(unit(2, seed=1), 5)
    assert scores.shape == rows.shape == (2, count)
    assert [sorted(row) for row in rows.tolist()] == [list(range(count))] * 2


@pytest.mark.parametrize("share", [0.002, 0.01, 0.5])
def test_a_filter_is_exact_however_few_rows_it_keeps(share: float) -> None:
    vectors, xb = filled(5000)
    kept = np.flatnonzero(np.random.default_rng(2).random(5000) < share)
    xq = unit(20, seed=3)
    _, rows = vectors.search(xq, 5, rows=kept)
    assert np.array_equal(rows, brute_force(xq, xb[kept], kept, 5))


def test_a_filter_of_unknown_and_repeated_rows() -> None:
    vectors, _ = filled(10)
    _, rows = vectors.search(unit(1), 5, rows=np.array([3, 3, 8, 99, -1]))
    assert sorted(rows[0].tolist()) == [3, 8]
    assert vectors.search(unit(1), 5, rows=np.array([], np.int64))[1].shape == (1, 0)
    assert vectors.search(unit(1), 5, rows=np.array([77]))[1].shape == (1, 0)


def test_deleted_rows_are_gone_and_the_others_keep_theirs() -> None:
    vectors, xb = filled(100)
    vectors.delete(np.array([0, 5, 99]))
    assert len(vectors) == 97
    for row in (1, 6, 98):
        assert vectors.search(xb[row : row + 1], 1)[1][0, 0] == row
    _, rows = vectors.search(xb[[0, 5, 99]], 97)
    assert not np.isin(rows, [0, 5, 99]).any()
    assert np.array_equal(vectors.get(np.array([98, 1])), xb[[98, 1]])


def test_a_deleted_row_can_be_added_again() -> None:
    vectors, xb = filled(10)
    vectors.delete(np.array([4]))
    vectors.add(unit(1, seed=9), np.array([4]))
    assert np.array_equal(vectors.get(np.array([4])), unit(1, seed=9))
    assert len(vectors) == 10
    assert vectors.search(xb[3:4], 1)[1][0, 0] == 3


def test_rows_need_not_be_in_order() -> None:
    rows = np.array([70, 3, 500])
    vectors, xb = filled(3, rows)
    assert vectors.search(xb, 1)[1][:, 0].tolist() == [70, 3, 500]
    assert np.array_equal(vectors.get(rows[::-1]), xb[::-1])
    assert vectors.rows().tolist() == [3, 70, 500]


def test_equal_works_come_in_the_order_of_their_rows() -> None:
    same = np.repeat(unit(1), 4, axis=0)
    vectors = FaissVectors(DIMENSION)
    vectors.add(same, np.array([9, 2, 30, 4]))
    assert vectors.search(same[:1], 4)[1][0].tolist() == [2, 4, 9, 30]


@pytest.mark.parametrize("works", [0, 1, 9000])
def test_an_index_is_written_as_faiss_writes_it(tmp_path: Path, works: int) -> None:
    vectors, xb = filled(works) if works else (FaissVectors(DIMENSION), unit(0))
    faiss.write_index(vectors._index, str(tmp_path / "theirs"))
    write_index(tmp_path / "ours", xb)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("mapped", [False, True])
def test_written_and_loaded_it_answers_the_same(tmp_path: Path, mapped: bool) -> None:
    vectors, xb = filled(500)
    write_index(tmp_path / "index.faiss", xb)
    loaded = FaissVectors.load(tmp_path / "index.faiss", mapped)
    assert (len(loaded), loaded.dimension) == (500, DIMENSION)
    for one, other in zip(vectors.search(unit(30), 5), loaded.search(unit(30), 5), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(loaded.get(np.array([7, 3])), xb[[7, 3]])


def test_the_same_answers_from_many_threads() -> None:
    vectors, _ = filled(3000)
    xq = unit(90, seed=4)
    expected = vectors.search(xq, 5)[1]
    found = np.zeros_like(expected)

    def ask(first: int) -> None:
        for row in range(first, 90, 9):
            found[row] = vectors.search(xq[row : row + 1], 5)[1][0]

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(found, expected)


BAD = {
    "too long": np.ones((1, DIMENSION), np.float32),
    "zero": np.zeros((1, DIMENSION), np.float32),
    "nan": np.full((1, DIMENSION), np.nan, np.float32),
    "infinite": np.full((1, DIMENSION), np.inf, np.float32),
    "wrong dimension": np.eye(1, DIMENSION + 1, dtype=np.float32),
    "no batch": unit(1)[0],
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_vectors_are_refused(bad: np.ndarray) -> None:
    vectors, _ = filled(3)
    with pytest.raises(BadInput, match="vectors must be"):
        vectors.search(bad, 5)
    with pytest.raises(BadInput, match="vectors must be"):
        vectors.add(bad, np.array([7]))
    assert len(vectors) == 3


@pytest.mark.parametrize("k", [0, -1])
def test_bad_k_is_refused(k: int) -> None:
    with pytest.raises(BadInput, match="k must be >= 1"):
        filled(3)[0].search(unit(1), k)


@pytest.mark.parametrize("rows", [[1], [-1], [7, 7], [7, 8, 9]])
def test_rows_taken_negative_repeated_or_miscounted_are_refused(rows: list[int]) -> None:
    vectors, _ = filled(3)
    with pytest.raises(BadInput, match="row"):
        vectors.add(unit(2, seed=1) if len(rows) > 1 else unit(1, seed=1), np.array(rows))
    assert len(vectors) == 3


def test_unknown_rows_are_refused() -> None:
    vectors, _ = filled(3)
    for call in (vectors.get, vectors.delete):
        with pytest.raises(BadInput, match="received 3"):
            call(np.array([0, 3]))
    assert len(vectors) == 3


def test_files_that_are_no_such_index_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    for data in (b"", b"nonsense", b"IxF2" + b"\xff" * 300):
        path.write_bytes(data)
        with pytest.raises(ArtefactError, match=r"index\.faiss"):
            FaissVectors.load(path)
    faiss.write_index(faiss.IndexFlatL2(DIMENSION), str(path))
    with pytest.raises(ArtefactError, match="received IndexFlatL2"):
        FaissVectors.load(path)


def test_a_file_with_a_vector_not_of_unit_norm_is_refused(tmp_path: Path) -> None:
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSION))
    xb = unit(50)
    xb[30] *= 1.01
    index.add_with_ids(xb, np.arange(50))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    with pytest.raises(ArtefactError, match="unit norm"):
        FaissVectors.load(tmp_path / "index.faiss")


def test_a_file_that_claims_more_than_it_holds_asks_for_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    write_index(path, unit(50))
    data = bytearray(path.read_bytes())
    length = data.index((50 * DIMENSION).to_bytes(8, "little"))
    data[length : length + 8] = (1 << 38).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(ArtefactError, match="not an index FAISS can read"):
        FaissVectors.load(path)
