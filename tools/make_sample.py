"""Make examples/art_institute from a folder of Art Institute of Chicago pictures and its list.

    python tools/make_sample.py ../shared/data/art_institute examples/art_institute

Every third work of a period, in the order of a hash of its number, goes to test/, the rest to
train/: the same split whoever makes it, and six test works at least in every period, as P@5 needs
to be able to reach 1. Files are copied as they are.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import sys
from collections import Counter
from pathlib import Path

COLUMNS = ("path", "id", "title", "artist", "date", "medium", "licence", "source")


def main(source: Path, target: Path) -> None:
    """Copy the pictures and write manifest.csv."""
    with (source / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: _order(row["aic_id"]))
    seen: Counter[str] = Counter()
    works = []
    for row in rows:
        seen[row["class"]] += 1
        split = "test" if seen[row["class"]] % 3 == 0 else "train"
        period = row["class"].removeprefix("golden_age_")
        path = f"{split}/{period}/{Path(row['file']).name}"
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / row["file"], target / path)
        works.append(
            {
                "path": path,
                "id": f"aic-{row['aic_id']}",
                "title": row["title"],
                "artist": row["artist"],
                "date": row["date"],
                "medium": row["medium"],
                "licence": "CC0-1.0",
                "source": f"https://www.artic.edu/artworks/{row['aic_id']}",
            }
        )
    with (target / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(works, key=lambda work: work["path"]))


def _order(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
