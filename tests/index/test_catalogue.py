"""Catalogue and thumbnails: what was written is read, from any thread, in a read-only folder."""

from __future__ import annotations

import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from index.catalogue import Catalogue, Entry, write_catalogue
from index.space.errors import ArtefactError
from index.thumbnails import Thumbnails, make_thumbnail, media_type, thumbnail_writer
from tests.bad_pictures import photo


def entry(row: int, id_: str, **others: object) -> Entry:
    values: dict[str, object] = {
        "name": f"a/{id_}.png",
        "label": "a",
        "split": "train",
        "sha256": "0" * 64,
        "seen": row % 2 == 0,
        "greyscale": row % 3 == 0,
        "width": 10 + row,
        "height": 20 + row,
        "metadata": {},
    }
    return Entry(row, id_, **(values | others))


ENTRIES = [
    entry(0, "a-1", metadata={"title": "L'Âne «&#%?»", "artist": "北斎"}),
    entry(1, "Ü ?", label=None, split=None),
    entry(2, "'; DROP TABLE works; --"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "50% of #1?"
    folder.mkdir()
    write_catalogue(folder / "catalogue.sqlite", ENTRIES)
    return folder / "catalogue.sqlite"


def test_entries_come_back_as_they_were_written(path: Path) -> None:
    catalogue = Catalogue(path)
    assert len(catalogue) == 3
    assert list(catalogue.entries()) == ENTRIES
    assert [catalogue.by_id(entry.id) for entry in ENTRIES] == ENTRIES
    assert catalogue.by_id("nobody") is None


def test_rows_come_in_the_order_asked_for(path: Path) -> None:
    catalogue = Catalogue(path)
    assert catalogue.by_rows([2, 0, 2]) == [ENTRIES[2], ENTRIES[0], ENTRIES[2]]
    assert catalogue.by_rows([]) == []
    with pytest.raises(ArtefactError, match="none at row 3"):
        catalogue.by_rows([0, 3])


def test_many_threads_read_at_once(path: Path) -> None:
    catalogue = Catalogue(path)
    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(lambda n: catalogue.by_rows([n % 3, (n + 1) % 3]), range(900)))
    assert all(pair == [ENTRIES[n % 3], ENTRIES[(n + 1) % 3]] for n, pair in enumerate(found))


def test_it_leaves_no_files_beside_it_and_takes_no_writes(path: Path) -> None:
    catalogue = Catalogue(path)
    list(catalogue.entries())
    assert [file.name for file in path.parent.iterdir()] == ["catalogue.sqlite"]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        catalogue._connection.execute("DELETE FROM works")


def test_the_same_entries_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_catalogue(tmp_path / "again.sqlite", ENTRIES)
    assert (tmp_path / "again.sqlite").read_bytes() == path.read_bytes()


def test_rows_that_are_not_in_order_are_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in order"):
        write_catalogue(tmp_path / "wrong.sqlite", [ENTRIES[1]])


@pytest.mark.parametrize("kind", [Catalogue, Thumbnails])
def test_other_files_are_refused(kind: type, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        kind(tmp_path / "missing.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database, it is text " * 100)
    with pytest.raises(ArtefactError):
        kind(tmp_path / "text.sqlite")


def test_closed_is_closed(path: Path) -> None:
    catalogue = Catalogue(path)
    catalogue.close()
    with pytest.raises(sqlite3.ProgrammingError):
        catalogue.by_id("a-1")


def test_thumbnails_are_read_by_row(tmp_path: Path) -> None:
    with thumbnail_writer(tmp_path / "thumbnails.sqlite") as add:
        for row, width in enumerate((40, 50)):
            add(row, make_thumbnail(photo(width, 30)))
    thumbnails = Thumbnails(tmp_path / "thumbnails.sqlite")
    assert len(thumbnails) == 2
    assert Image.open(io.BytesIO(thumbnails.get(1) or b"")).size == (50, 30)
    assert thumbnails.get(2) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 320), (320, 160)), ((300, 1000), (96, 320)), ((6000, 4), (320, 1)), ((40, 30),) * 2],
)
def test_the_long_side_of_a_thumbnail_is_320(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    thumbnail = Image.open(io.BytesIO(make_thumbnail(photo(*size))))
    assert thumbnail.size == expected
    assert thumbnail.format == "JPEG"


def test_a_thumbnail_says_nothing_of_camera_or_place() -> None:
    image = photo()
    exif = Image.Exif()
    exif[0x0110] = "Secret Camera"
    image.info.update(exif=exif.tobytes(), xmp=b"<x:xmpmeta>secret</x:xmpmeta>")
    image.info["icc_profile"] = b"secret profile"
    image.info["comment"] = b"secret comment"
    thumbnail = make_thumbnail(image)
    assert b"ecret" not in thumbnail
    markers = (b"Exif", b"http://ns.adobe.com", b"ICC_PROFILE", b"\xff\xfe")
    assert not any(marker in thumbnail[:1000] for marker in markers)


def test_thumbnails_of_releases_of_before_are_what_they_are() -> None:
    file = io.BytesIO()
    photo().save(file, "WEBP")
    assert media_type(file.getvalue()) == "image/webp"
    assert media_type(make_thumbnail(photo())) == "image/jpeg"
