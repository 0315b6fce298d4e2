"""Years as museums write them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from index.dates import years

COLLECTION = Path(__file__).parents[2] / "examples" / "art_institute"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("1888", (1888, 1888)),
        ("c. 1857–61", (1857, 1861)),
        ("1868–70", (1868, 1870)),
        ("1873-75", (1873, 1875)),
        ("1640–2", (1640, 1642)),
        ("1490/95", (1490, 1495)),
        ("c. 1600/25", (1600, 1625)),
        ("1899–1901", (1899, 1901)),
        ("c. 1880s", (1880, 1889)),
        ("1880s–1890s", (1880, 1899)),
        ("mid-1650s", (1650, 1659)),
        ("between 1860 and 1870", (1860, 1870)),
        ("1503 or 1504", (1503, 1504)),
        ("before 1890", (1890, 1890)),
        ("um 1890", (1890, 1890)),
        ("1890年", (1890, 1890)),
        ("Edo period (1615–1868), 1831", (1615, 1868)),
        ("October 12, 1890", (1890, 1890)),
        ("12.10.1890", (1890, 1890)),
        ("1901-10-12", (1901, 1901)),
        ("late 19th century", (1801, 1900)),
        ("19th-century copy", (1801, 1900)),
        ("17th–18th century", (1601, 1800)),
        ("16. Jh.", (1501, 1600)),
        ("XVIIIe siècle", (1701, 1800)),
        ("IX secolo", (801, 900)),
        ("500 BC", (-499, -499)),
        ("800–750 BC", (-799, -749)),
        ("2nd century BC", (-199, -100)),
        ("Date unknown", None),
        ("n.d.", None),
        ("inv. 12345", None),
        ("", None),
    ],
)
def test_years_of_a_date(text: str, span: tuple[int, int] | None) -> None:
    assert years(text) == span


def test_the_sample_collections_dates_are_read() -> None:
    """All but those that say that they are unknown, and each within the class, a decade or so."""
    with (COLLECTION / "manifest.csv").open(encoding="utf-8") as file:
        dates = [row["date"] for row in csv.DictReader(file)]
    unread = {date for date in dates if years(date) is None}
    assert unread == {"Date unknown"}
