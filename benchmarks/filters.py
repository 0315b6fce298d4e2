"""Searches with filters among 100,000 works: all answers that exist, and what they cost.

    python -m benchmarks.filters

Random vectors of 512 numbers, ten artists' worth of filters from ten works to half of all. Writes
`benchmarks/results/filters.json`: recall of the ten nearest against NumPy over the same rows, and
the time of a filtered search over that of an unfiltered one, both taken in turn; the rows that a
filter lets through are found once, in `first_selection_ms`.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from index.catalogue import Catalogue, Entry, write_catalogue
from index.filters import parse_filter
from index.vectors import FaissVectors, Floats

WORKS, DIMENSION, K, QUERIES = 100_000, 512, 10, 40
KEEPING = (10, 100, 1000, 10_000, 50_000)


def main() -> None:
    """Build, search, write the result."""
    command.Command(__doc__).parse_args()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(WORKS, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = FaissVectors(DIMENSION)
    index.add(vectors, np.arange(WORKS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.sqlite"
        write_catalogue(path, _entries())
        catalogue = Catalogue(path)
        rows = {str(n): _row(index, catalogue, vectors, n, rng) for n in KEEPING}
    result = {
        "command": "python -m benchmarks.filters",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "works": WORKS,
        "dimension": DIMENSION,
        "filter_keeps": rows,
    }
    path = Path("benchmarks/results/filters.json")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


def _entries() -> list[Entry]:
    """Works of which `keep10` is said of ten, and so on, spread over all rows."""
    order = np.random.default_rng(1).permutation(WORKS)
    said: list[dict[str, str]] = [{} for _ in range(WORKS)]
    for kept in KEEPING:
        for row in order[:kept]:
            said[row][f"keep{kept}"] = "yes"
    return [
        Entry(row, f"w{row}", f"{row}.png", "a", None, "", False, False, 9, 9, said[row])
        for row in range(WORKS)
    ]


def _row(
    index: FaissVectors, catalogue: Catalogue, vectors: Floats, kept: int, rng: np.random.Generator
) -> dict[str, Any]:
    terms = parse_filter(f"keep{kept}:yes")
    found, ratios = [], []
    start = time.perf_counter()
    catalogue.select(terms)
    first = time.perf_counter() - start
    for _ in range(QUERIES):
        query = rng.normal(size=(1, DIMENSION)).astype(np.float32)
        query /= np.linalg.norm(query)
        start = time.perf_counter()
        _, rows = index.search(query, K, catalogue.select(terms))
        filtered = time.perf_counter() - start
        start = time.perf_counter()
        index.search(query, K)
        ratios.append(filtered / (time.perf_counter() - start))
        allowed = catalogue.select(terms)
        best = allowed[np.argsort(-(vectors[allowed] @ query[0]), kind="stable")[:K]]
        found.append(len(np.intersect1d(best, rows[0])) / K)
    low, median, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    return {
        "recall_at_10": float(np.mean(found)),
        "filtered_over_unfiltered": {"median": median, "p5": low, "p95": high},
        "first_selection_ms": round(1000 * first, 2),
    }


if __name__ == "__main__":
    command.run(main)
