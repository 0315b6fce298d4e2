"""`artkin index`: from a folder to a release, and everything that can be wrong with the folder."""

from __future__ import annotations

import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import artkin
from index.release import CATALOGUE, open_release
from index.releases import current_release, release_ids
from index.space.artefact import MANIFEST, sha256_of
from index.space.encoder import Encoder
from index.space.model import load_model
from index.space.picture_limits import COLLECTION_LIMITS
from index.space.preprocessing import decode, to_pixels
from tests.bad_pictures import accepted, encoded, photo
from tests.conftest import Painter, paint
from tests.releases import make_release

ROOT = Path(__file__).parents[2]


@pytest.fixture
def art(tmp_path: Path, painted_collection: Painter) -> Path:
    """Six pictures that a test may change."""
    return painted_collection(tmp_path / "art", each=2)


def index(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run `artkin index`; return its exit code, output and error line."""
    code = artkin.main(["index", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_every_work_has_its_vector_entry_and_thumbnail(published: Path, collection: Path) -> None:
    release = open_release(current_release(published))
    assert len(release.vectors) == len(release.catalogue) == len(release.thumbnails) == 24
    for entry in release.catalogue.entries():
        assert entry.sha256 == sha256_of(collection / entry.name)
        assert (entry.width, entry.height) == (96, 80)
        assert entry.seen == (entry.split == "train")
        assert entry.label == Path(entry.name).parts[1]
        thumbnail = Image.open(io.BytesIO(release.thumbnails.get(entry.row) or b""))
        original = Image.open(collection / entry.name).convert("RGB")
        difference = np.asarray(thumbnail, int) - np.asarray(original, int)
        assert np.abs(difference).mean() < 16
    release.close()


def test_vectors_are_those_the_service_computes(
    published: Path, collection: Path, tiny_model: Path
) -> None:
    model = load_model(tiny_model)
    encoder = Encoder(model, batch=1)
    release = open_release(current_release(published))
    for entry in release.catalogue.entries():
        image = decode((collection / entry.name).read_bytes(), COLLECTION_LIMITS)
        query = encoder.encode(to_pixels(image, model.manifest.preprocessing)[None])
        scores, rows = release.vectors.search(query, 1)
        assert rows[0, 0] == entry.row
        assert scores[0, 0] > 0.99999
    release.close()


def test_a_skipped_file_moves_nobodys_title(art: Path, tiny_model: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(art).as_posix() for path in art.rglob("*.*"))
    lines = [f'{name},ID-{n},"Title, of {n}"' for n, name in enumerate(names)]
    (art / "manifest.csv").write_text("\n".join(["path,id,title", *lines]))
    (art / names[0]).write_bytes(b"")
    data = (art / names[2]).read_bytes()
    (art / names[2]).write_bytes(data[: len(data) // 2])
    id_ = make_release(art, tiny_model, tmp_path / "releases", max_bad=50)
    release = open_release(tmp_path / "releases" / id_)
    encoder = Encoder(load_model(tiny_model), batch=1)
    spec = load_model(tiny_model).manifest.preprocessing
    assert [file.name for file in release.manifest.bad] == [names[0], names[2]]
    assert [file.reason for file in release.manifest.bad] == ["empty-file", "image-corrupt"]
    for n, name in enumerate(names):
        entry = release.catalogue.by_id(f"ID-{n}")
        if n in (0, 2):
            assert entry is None
            continue
        assert entry is not None
        assert (entry.name, entry.metadata) == (name, {"title": f"Title, of {n}"})
        pixels = to_pixels(decode((art / name).read_bytes(), COLLECTION_LIMITS), spec)
        _, rows = release.vectors.search(encoder.encode(pixels[None]), 1)
        assert rows[0, 0] == entry.row
    release.close()


def test_bad_files_are_named_and_counted(
    art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (art / "cubism" / "page.jpg").write_text("<html>")
    Image.new("RGB", (50, 50), "teal").save(art / "cubism" / "solid [bold]x.png")
    photo().convert("L").save(art / "cubism" / "grey.png")
    (art / "cubism" / "notes.txt").write_text("notes")
    code, out, err = index(
        capsys, art, "--model", tiny_model, "--releases", tmp_path / "r", "--max-bad", 25
    )
    assert (code, err) == (0, "")
    assert "skipped cubism/page.jpg: unsupported-image: must be one of" in out
    assert "skipped cubism/solid [bold]x.png: blank-image: every pixel" in out
    assert "7 works, 7 of them embedded now" in out
    assert "added: 7 (baroque/baroque-0.png, " in out
    assert "unusable pictures: 2 (1 blank-image, 1 unsupported-image)" in out
    assert "left out: 1 (1 not a picture (.txt))" in out
    id_ = release_ids(tmp_path / "r")[0]
    assert f"artkin publish {id_} --releases {tmp_path / 'r'}" in out
    manifest = json.loads((tmp_path / "r" / id_ / MANIFEST).read_text())
    assert (manifest["works"], manifest["left_out"]) == (7, {"not a picture (.txt)": 1})


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_odd_but_good_pictures_are_all_indexed(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for number, data in enumerate(accepted().values()):
        (tmp_path / "odd" / f"{number}.jpg").write_bytes(data)
    for number, kind in enumerate(("TIFF", "GIF", "BMP", "AVIF", "JPEG2000")):
        (tmp_path / "odd" / f"x{number}.jpg").write_bytes(encoded(photo(), kind))
    id_ = make_release(tmp_path / "odd", tiny_model, tmp_path / "r", max_bad=0)
    release = open_release(tmp_path / "r" / id_)
    assert release.manifest.works == len(accepted()) + 5
    assert {(e.width, e.height) for e in release.catalogue.entries()} == {(160, 120)}
    release.close()


def test_a_turned_photograph_is_the_same_work(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "turned").mkdir()
    photo(3000, 2100).save(tmp_path / "turned" / "1.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photo(3000, 2100).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned" / "2.jpg", quality=95, exif=exif)
    release = open_release(
        tmp_path / "r" / make_release(tmp_path / "turned", tiny_model, tmp_path / "r")
    )
    first, second = release.vectors.get(np.array([0, 1]))
    assert first @ second > 0.99
    assert [(e.width, e.height) for e in release.catalogue.entries()] == [(3000, 2100)] * 2
    sizes = [Image.open(io.BytesIO(release.thumbnails.get(row) or b"")).size for row in (0, 1)]
    assert sizes == [(320, 224), (320, 224)]
    release.close()


def test_copies_of_one_file_are_works_of_their_own(
    art: Path, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copy(art / "cubism" / "cubism-0.png", art / "baroque" / "copy.png")
    release = open_release(tmp_path / "r" / make_release(art, tiny_model, tmp_path / "r"))
    assert len(release.catalogue) == 7
    same = [e for e in release.catalogue.entries() if e.name.endswith(("copy.png", "cubism-0.png"))]
    assert same[0].sha256 == same[1].sha256
    assert same[0].id != same[1].id
    release.close()


def test_the_same_collection_gives_the_same_vectors_and_ids(
    art: Path, tiny_model: Path, tmp_path: Path
) -> None:
    ids = [make_release(art, tiny_model, tmp_path / "r") for _ in range(2)]
    one, two = (open_release(tmp_path / "r" / id_) for id_ in ids)
    assert list(one.catalogue.entries()) == list(two.catalogue.entries())
    rows = np.arange(len(one.catalogue))
    assert np.array_equal(one.vectors.get(rows), two.vectors.get(rows))
    assert sha256_of(one.folder / CATALOGUE) == sha256_of(two.folder / CATALOGUE)
    one.close()
    two.close()


def test_a_collection_without_classes_is_indexed(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(3):
        paint("cubism", number).save(tmp_path / "flat" / f"{number}.png")
    release = open_release(
        tmp_path / "r" / make_release(tmp_path / "flat", tiny_model, tmp_path / "r")
    )
    assert [entry.label for entry in release.catalogue.entries()] == [None] * 3
    assert [len(canary.neighbours) for canary in release.manifest.canaries] == [3, 3, 3]
    release.close()


def refuse(
    capsys: pytest.CaptureFixture[str], releases: Path, *arguments: object, code: int = 2
) -> str:
    """Run `artkin index`, which must fail with one line and leave nothing behind."""
    before = seen(releases)
    received, _, err = index(capsys, *arguments, "--releases", releases)
    assert received == code, err
    assert err.startswith("artkin index: error: ")
    assert err.count("\n") == 1
    assert seen(releases) == before
    return err


def seen(releases: Path) -> list[Path]:
    """What is in the folder but the lock and what the next run goes on from."""
    paths = releases.rglob("*") if releases.exists() else []
    return sorted(p for p in paths if p.name != ".lock" and not p.name.startswith(".embedded-"))


def test_too_many_bad_files_stop_it(
    art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (art / "baroque" / "0.jpg").write_bytes(b"\xff\xd8\xff")
    err = refuse(capsys, tmp_path / "r", art, "--model", tiny_model)
    assert "at most 5 % of the pictures may be unusable; received 1 of 7 (14.3 %)" in err
    assert "the first baroque/0.jpg (image-corrupt)" in err
    assert "--max-bad" in err


def test_no_usable_picture_stops_it(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "art").mkdir()
    (tmp_path / "art" / "1.jpg").write_bytes(b"")
    err = refuse(
        capsys, tmp_path / "r", tmp_path / "art", "--model", tiny_model, "--max-bad", "100"
    )
    assert "at least one usable picture" in err
    assert "1.jpg: the file is empty" in err


def test_bad_folders_and_options_are_said(
    art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases = tmp_path / "r"
    (tmp_path / "empty").mkdir()
    model = ("--model", tiny_model)
    assert "must be a folder" in refuse(capsys, releases, tmp_path / "none", *model)
    assert "holds no pictures" in refuse(capsys, releases, tmp_path / "empty", *model)
    assert "percentage" in refuse(capsys, releases, art, *model, "--max-bad", "101")
    assert "percentage" in refuse(capsys, releases, art, *model, "--max-bad", "nan")
    assert "artkin export" in refuse(capsys, releases, art, "--model", tmp_path / "empty")


@pytest.mark.parametrize("place", [".", "releases", "deep/er"])
def test_releases_inside_the_collection_are_refused(
    art: Path, tiny_model: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refuse(capsys, art / place, art, "--model", tiny_model)
    assert "must not be inside the collection" in err


def test_releases_that_cannot_be_a_folder_are_refused(
    art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("mine")
    model = ("--model", tiny_model)
    err = refuse(capsys, file, art, *model)
    assert f"--releases must be a folder; received {file}, which is a file; name another" in err
    err = refuse(capsys, file / "r", art, *model)
    assert f"--releases must be a folder; received {file}/r, and {file} is a file" in err
    err = refuse(capsys, Path("/proc/artkin"), art, *model)
    assert "takes a lock, a file that can be written; received /proc/artkin/.lock: No such" in err
    assert file.read_text() == "mine"


def test_a_model_of_another_format_is_refused(
    art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    document = json.loads((model / MANIFEST).read_text()) | {"format": 2}
    (model / MANIFEST).write_text(json.dumps(document))
    err = refuse(capsys, tmp_path / "r", art, "--model", model)
    assert "manifest format 2, of a newer artkin; this one reads format 1: upgrade artkin" in err


def test_excluded_works_are_not_indexed(art: Path, tiny_model: Path, tmp_path: Path) -> None:
    id_ = make_release(art, tiny_model, tmp_path / "r", exclude=["cubism/*", "*-1.jpg"])
    release = open_release(tmp_path / "r" / id_)
    names = [entry.name for entry in release.catalogue.entries()]
    assert names == ["baroque/baroque-0.png", "ukiyo_e/ukiyo_e-0.png"]
    assert release.manifest.left_out == {"excluded": 4}
    release.close()


def test_a_full_disk_is_said_and_leaves_nothing(
    art: Path, tiny_model: Path, tmp_path: Path, small_disk: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):  # what is written must not fit
        paint("cubism", 100 + number, (400, 300)).save(art / "cubism" / f"n{number}.png")
    small = tmp_path / "small"
    small_disk(small, "128k")
    err = refuse(capsys, small / "r", art, "--model", tiny_model)
    assert "the disk is full" in err
    assert "run the same command again" in err
    assert seen(small / "r") == []


def test_a_file_size_limit_is_said_in_one_line(art: Path, tiny_model: Path, tmp_path: Path) -> None:
    limit = 3000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "artkin.py", "index", art, "--model", tiny_model]
    done = subprocess.run(
        [*command, "--releases", tmp_path / "r"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=limited,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("artkin index: error: ")
    assert done.stderr.count("\n") == 1
    assert seen(tmp_path / "r") == []


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_nothing(
    tiny_model: Path, tmp_path: Path, painted_collection: Painter, sent: signal.Signals, code: int
) -> None:
    root = painted_collection(tmp_path / "many", each=100)
    command = [sys.executable, "artkin.py", "index", root, "--model", tiny_model]
    with subprocess.Popen(
        [*command, "--releases", tmp_path / "r"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        while not list((tmp_path / "r").glob(".embedded-*.sqlite")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(sent)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert err == ("artkin index: interrupted\n" if code == 130 else "")
    assert seen(tmp_path / "r") == []


def test_several_folders_and_a_manifest_elsewhere_become_one_release(
    tiny_model: Path, tmp_path: Path, painted_collection: Painter, capsys
) -> None:
    for name in ("paintings", "prints"):
        painted_collection(tmp_path / name, each=1, styles=("cubism", "baroque"))
    outside = tmp_path / "outside.png"
    paint("ukiyo_e", 5).save(outside)
    (tmp_path / "prints" / "link.png").symlink_to(outside)
    said = '{"path": "prints/cubism/cubism-0.png", "id": "P 1", "medium": ["ink", "paper"]}'
    (tmp_path / "said.jsonl").write_text(said)
    roots = [tmp_path / "paintings", tmp_path / "prints"]
    options = ["--model", tiny_model, "--manifest", tmp_path / "said.jsonl", "--follow-links"]
    code, _, err = index(capsys, *roots, *options, "--releases", tmp_path / "releases")
    assert (code, err) == (0, "")
    release = open_release(tmp_path / "releases" / release_ids(tmp_path / "releases")[0])
    assert [(entry.name, entry.label) for entry in release.catalogue.entries()] == [
        ("paintings/baroque/baroque-0.png", "baroque"),
        ("paintings/cubism/cubism-0.png", "cubism"),
        ("prints/link.png", None),
        ("prints/baroque/baroque-0.png", "baroque"),
        ("prints/cubism/cubism-0.png", "cubism"),
    ]
    entry = release.catalogue.by_id("P 1")
    assert entry is not None
    assert (entry.name, entry.metadata) == ("prints/cubism/cubism-0.png", {"medium": "ink; paper"})
    release.close()
    code, _, err = index(capsys, *roots, *options, "--releases", tmp_path / "prints" / "releases")
    assert code == 2
    assert "must not be inside the collection" in err
