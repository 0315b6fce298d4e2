"""Write manifest.parquet with PyArrow, the reference writer: every kind of value that may come.

pip install pyarrow==26.0.1 && python tests/index/golden/make_parquet.py
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TABLE = {
    "path": ["a/1.png", "b/1.png", "b/2.png"],
    "Title": pa.array(["Blé", "", None]).dictionary_encode(),
    "number": pa.array([7, None, 9]),
    "year": [1889.0, float("nan"), 1.5],
    "price": [Decimal("1.10"), None, Decimal("2.25")],
    "date": [dt.date(1889, 1, 2), None, dt.date(1600, 1, 1)],
    "bought": pa.array([dt.datetime(1900, 5, 6), None, dt.datetime(1900, 5, 6, 7, 8)]),
    "scanned": pa.array(
        [None, dt.datetime(2020, 5, 6, 7, 8), None], pa.timestamp("us", "Europe/Amsterdam")
    ),
    "medium": [["oil", "canvas"], [], ["ink"]],
    "makers": [[{"name": "A", "born": 1853}], [], None],
    "size": [{"height": 1.5, "unit": "cm"}, None, None],
    "on view": [True, False, None],
    "nothing": pa.nulls(3),
}
pq.write_table(pa.table(TABLE), Path(__file__).with_name("manifest.parquet"), compression="zstd")
