"""The seam between artkin and the place where vectors live; FAISS behind it, exact search.

Rows are the catalogue's row numbers. They are kept by the index itself (`IndexIDMap2`) because a
flat FAISS index renumbers what is left after a deletion, and titles would then move to other works.

Threads: one for each search. FAISS starts OpenMP threads for a single query too, which on two busy
cores took 13-25 ms instead of 0.7 ms (20,000 x 256); the service searches from several threads of
its own. Searching from several threads at once is safe; changing the index meanwhile is not.
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import faiss
import numpy as np
from numpy.typing import NDArray

from index.space.errors import ArtefactError, BadInput

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]

UNIT_NORM_TOLERANCE = 1e-3
_WRITTEN_AT_ONCE = 4096
_LOADING = threading.Lock()  # the deserialization limits are the process's, not a call's


class Vectors(Protocol):
    """Unit-norm vectors by row number, searched by cosine."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    def __len__(self) -> int:
        """Number of vectors that can be found."""

    def search(self, queries: Floats, k: int, rows: Rows | None = None) -> tuple[Floats, Rows]:
        """The k nearest vectors of each query, nearest first.

        Args:
            queries: float32 of shape (n, dimension), unit norm.
            k: neighbours wanted, >= 1.
            rows: search only these; rows that are not there are ignored.

        Returns:
            Cosines, float32 (n, k'), and rows, int64 (n, k'), where k' = min(k, number of
            searchable vectors): every row exists, none comes twice.

        Raises:
            BadInput: wrong shape, not finite, not of unit norm, or k < 1.
        """

    def add(self, vectors: Floats, rows: Rows) -> None:
        """Add vectors, float32 (n, dimension), under rows not taken yet, int64 (n,).

        Raises:
            BadInput: wrong shape, not finite, not of unit norm, a row negative or taken.
        """

    def delete(self, rows: Rows) -> None:
        """Delete rows; the others keep theirs.

        Raises:
            BadInput: a row that is not there.
        """

    def get(self, rows: Rows) -> Floats:
        """The vectors of rows, float32 (n, dimension), in their order.

        Raises:
            BadInput: a row that is not there.
        """


class FaissVectors:
    """`Vectors` in memory, compared exactly with every query (`IndexFlatIP`).

    Args:
        dimension: length of every vector.
    """

    def __init__(self, dimension: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        self._rows: Rows = np.empty(0, np.int64)  # sorted; FAISS itself does not say what it has

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return int(self._index.d)

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: Floats, k: int, rows: Rows | None = None) -> tuple[Floats, Rows]:
        """See `Vectors.search`; equal cosines come in the order of their rows."""
        queries = self._checked(queries)
        if k < 1:
            raise BadInput(f"k must be >= 1; received {k}")
        parameters = None
        searchable = len(self)
        if rows is not None:
            wanted = np.unique(rows)
            wanted = wanted[self._has(wanted)]
            searchable = len(wanted)
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(wanted))
        k = min(k, searchable)
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        faiss.omp_set_num_threads(1)  # holds for the calling thread only, so it is said each time
        scores, found = self._index.search(queries, k, params=parameters)
        order = np.lexsort((found, -scores), axis=1)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)

    def add(self, vectors: Floats, rows: Rows) -> None:
        """See `Vectors.add`."""
        vectors = self._checked(vectors)
        rows = np.asarray(rows, np.int64)
        if rows.shape != (len(vectors),):
            raise BadInput(f"one row a vector; received {len(vectors)} vectors, rows {rows.shape}")
        together = np.sort(np.concatenate([self._rows, rows]))
        if (together < 0).any() or (together[1:] == together[:-1]).any():
            raise BadInput("rows must be >= 0 and not taken yet; delete a row before adding it")
        self._index.add_with_ids(vectors, rows)
        self._rows = together

    def delete(self, rows: Rows) -> None:
        """See `Vectors.delete`."""
        rows = self._existing(rows)
        self._index.remove_ids(rows)
        self._rows = np.setdiff1d(self._rows, rows, assume_unique=False)

    def get(self, rows: Rows) -> Floats:
        """See `Vectors.get`."""
        rows = self._existing(rows)
        if len(rows) == 0:
            return np.empty((0, self.dimension), np.float32)
        faiss.omp_set_num_threads(1)
        vectors: Floats = self._index.reconstruct_batch(rows)
        return vectors

    def rows(self) -> Rows:
        """Every row there is, int64, ascending."""
        return self._rows.copy()

    @classmethod
    def load(cls, path: Path, mapped: bool = False) -> FaissVectors:
        """Read a file that `write_index` wrote and check every vector.

        Args:
            mapped: leave the vectors in the file, to be searched but not changed: the system reads
                and forgets them as it likes, so that a job's memory does not grow with the works.

        Raises:
            ArtefactError: unreadable, another kind of index, or a vector not of unit norm.
        """
        with _LOADING:
            # A damaged length may ask for no more than the file holds (the limit is exclusive),
            # and a flat index has nothing to loop over.
            faiss.set_deserialization_vector_byte_limit(path.stat().st_size + 1)
            faiss.set_deserialization_loop_limit(1)
            try:
                index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
            except RuntimeError as error:
                line = str(error).splitlines()[0]
                raise ArtefactError(f"{path} is not an index FAISS can read: {line}") from error
        flat = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else None
        if not isinstance(flat, faiss.IndexFlatIP):
            raise ArtefactError(
                f"{path} must be an IndexIDMap2 of an IndexFlatIP; received "
                f"{type(flat or index).__name__}; make the release again with `artkin index`"
            )
        loaded = cls(index.d)
        loaded._index = index
        loaded._rows = np.sort(faiss.vector_to_array(index.id_map))
        loaded._check_loaded(path)
        return loaded

    def _check_loaded(self, path: Path) -> None:
        if (self._rows < 0).any() or (self._rows[1:] == self._rows[:-1]).any():
            raise ArtefactError(f"{path}: its rows must be >= 0 and differ")
        for start in range(0, len(self), 4096):
            try:
                self._checked(self.get(self._rows[start : start + 4096]))
            except BadInput as error:
                raise ArtefactError(f"{path}: {error}") from error

    def _checked(self, vectors: Floats) -> Floats:
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise BadInput(
                f"vectors must be float32 (n, {self.dimension}); received {vectors.shape}"
            )
        if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) < UNIT_NORM_TOLERANCE).all():
            # Written so that NaN fails too: FAISS answers a NaN query with row -1, silently.
            raise BadInput("vectors must be finite and of unit norm; normalise them first")
        return vectors

    def _has(self, rows: Rows) -> NDArray[np.bool_]:
        if len(self._rows) == 0:
            return np.zeros(len(rows), np.bool_)
        places = np.searchsorted(self._rows, rows).clip(max=len(self._rows) - 1)
        found: NDArray[np.bool_] = self._rows[places] == rows
        return found

    def _existing(self, rows: Rows) -> Rows:
        rows = np.asarray(rows, np.int64)
        missing = rows[~self._has(rows)]
        if len(missing):
            raise BadInput(f"rows must be in the index; received {missing[0]}, which is not")
        return rows


def write_index(path: Path, vectors: Floats) -> None:
    """Write vectors under the rows 0..n-1 as FAISS writes its index of them.

    FAISS writes only what it has in memory; the layout is that of `faiss::write_index`
    (https://github.com/facebookresearch/faiss/blob/main/faiss/impl/index_write.cpp), and a test
    compares the bytes.

    Args:
        vectors: float32 (n, dimension), which may be a memory-mapped file.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    works, dimension = vectors.shape
    header = struct.pack(
        "<iqqqBi", dimension, works, 1 << 20, 1 << 20, 1, faiss.METRIC_INNER_PRODUCT
    )
    with path.open("wb") as file:
        file.write(b"IxM2" + header + b"IxFI" + header + struct.pack("<Q", vectors.size))
        for start in range(0, works, _WRITTEN_AT_ONCE):
            file.write(np.ascontiguousarray(vectors[start : start + _WRITTEN_AT_ONCE]).data)
        file.write(struct.pack("<Q", works))
        for start in range(0, works, _WRITTEN_AT_ONCE):
            file.write(np.arange(start, min(start + _WRITTEN_AT_ONCE, works), dtype="<i8").data)
