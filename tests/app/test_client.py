"""The typed client and `artkin query`."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image

import artkin
from app.client import Client
from app.options import PictureOptions, SearchOptions
from index.publish import publish
from index.space.errors import ArtkinError, BadInput
from tests.app.conftest import ROOT, Service
from tests.releases import make_release

LONG_ID = "id-" + "0123456789" * 9
LONG_TITLE = "A very long title, " * 8 + "its end"
# Without what tells Rich another width or colours.
PLAIN = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
PLAIN["TERM"] = "xterm"


@pytest.fixture
def picture(tmp_path: Path, a_photo: bytes) -> Path:
    path = tmp_path / "-odd name [b].jpg"
    path.write_bytes(a_photo)
    return path


def query(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run `artkin query`; returns its exit code, stdout and stderr."""
    code = artkin.main(["query", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_client_answers_in_types(service: Service, a_photo: bytes) -> None:
    with Client(service.url) as client:
        answer = client.search(a_photo, PictureOptions(k=3))
        assert [work.rank for work in answer.results] == [1, 2, 3]
        first = answer.results[0]
        assert client.item(first.id).title == first.title
        assert first.id not in [
            work.id for work in client.similar(first.id, SearchOptions(k=10)).results
        ]


def test_the_client_raises_what_the_service_says(service: Service, a_photo: bytes) -> None:
    with Client(service.url) as client:
        with pytest.raises(BadInput, match="415: must be one of JPEG, PNG, WEBP"):
            client.search(b"no picture")
        with pytest.raises(BadInput, match="422: a filter's field must be one of"):
            client.search(a_photo, PictureOptions(filter="no-such:x"))
        with pytest.raises(BadInput, match="404: no work has the id"):
            client.item("no-such")


def test_query_prints_a_table(service: Service, picture: Path, capsys) -> None:
    code, table, errors = query(capsys, picture, "--url", service.url, "-k", 2)
    assert (code, errors) == (0, "")
    for word in ("rank", "score", "title", "artist", "date", "class", "id", "tiny-1"):
        assert word in table


@pytest.fixture(scope="module")
def long_names(start_service, tiny_model, tmp_path_factory, a_photo) -> Service:
    """A service over one picture with colour and one without, the latter's names very long."""
    collection = tmp_path_factory.mktemp("art")
    for label, mode in (("colour", "RGB"), ("grey", "L")):
        (collection / label).mkdir()
        with Image.open(io.BytesIO(a_photo)) as image:
            image.convert(mode).save(collection / label / "a.png")
    row = f'grey/a.png,{LONG_ID},"{LONG_TITLE}"'
    (collection / "manifest.csv").write_text(f"path,id,title\n{row}\n")
    releases = tmp_path_factory.mktemp("releases")
    publish(releases, make_release(collection, tiny_model, releases))
    service = start_service("--model", tiny_model, "--releases", releases)
    service.wait_for("/readyz", 200)
    return service


def test_query_says_black_and_white_and_cuts_nothing_in_a_pipe(
    long_names: Service, picture: Path
) -> None:
    command = [sys.executable, "-m", "artkin", "query", str(picture), "--url", long_names.url]
    printed = subprocess.run(
        command, cwd=ROOT, env=PLAIN, capture_output=True, text=True, check=True
    ).stdout
    lines = [line for line in printed.splitlines() if LONG_ID in line]
    assert len(lines) == 1
    assert f"{LONG_TITLE} (black and white)" in lines[0]
    assert printed.count("black and white") == 1


def test_query_folds_on_a_terminal(long_names: Service, picture: Path) -> None:
    command = [sys.executable, "-m", "artkin", "query", str(picture), "--url", long_names.url]
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = subprocess.Popen(command, cwd=ROOT, env=PLAIN, stdin=end, stdout=end)
    os.close(end)
    printed = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while read := os.read(terminal, 65536):
            printed += read
    os.close(terminal)
    assert process.wait(20) == 0
    lines = printed.decode().splitlines()
    assert max(len(line) for line in lines if line.startswith("│")) == 80
    rows = [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]
    titles, ids = (" ".join(row[n] for row in rows) for n in (3, 7))
    assert f"{LONG_TITLE} (black and white)" in titles
    assert LONG_ID in ids.replace(" ", "")


def test_query_prints_json(service: Service, picture: Path, a_photo: bytes, capsys) -> None:
    _, printed, _ = query(capsys, picture, "--url", service.url, "--json")
    assert json.loads(printed) == service.search(a_photo).json()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{picture}", "--url", "http://127.0.0.1:1"], "no answer from http://127.0.0.1:1"),
        (["{picture}", "--url", "127.0.0.1:8000"], "--url must be like http"),
        (["{picture}", "--url", "ftp://x"], "--url must be like http"),
        (["{picture}", "--url", "http://x:port"], "--url must be like http"),
        (["no/such/file.jpg"], "no/such/file.jpg"),
        (["/"], "directory"),
    ],
)
def test_mistakes_are_one_line(capsys, picture: Path, arguments: list[str], message: str) -> None:
    given = [str(picture) if word == "{picture}" else word for word in arguments]
    code, _, errors = query(capsys, *given)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("artkin query: error: ")
    assert message in errors


def test_another_kind_of_service_is_told(service: Service, a_photo: bytes) -> None:
    with Client(service.url + "/static") as client, pytest.raises(ArtkinError, match=r"40[45]: "):
        client.search(a_photo)


def test_a_refusal_of_the_service_is_one_line(service: Service, tmp_path: Path, capsys) -> None:
    path = tmp_path / "letter.docx"
    path.write_bytes(b"PK\x03\x04 not a picture")
    code, _, errors = query(capsys, path, "--url", service.url)
    assert (code, errors.count("\n")) == (2, 1)
    assert "415" in errors
