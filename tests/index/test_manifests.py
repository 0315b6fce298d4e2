"""Manifests to rows: three kinds of file, and every way in which each can be wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import artkin
from index.collection import read_collection
from index.manifests import Row, read_manifest
from index.space.errors import BadInput, BadRows

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"path,title\n,No path\n", r"manifest\.csv:2"),
        (b"path,title\na/1.png," + b"x" * 200_000 + b"\n", r"manifest\.csv:2: not a row of CSV"),
        (b"path," + b"x" * 200_000 + b"\n", r"manifest\.csv:1: not a row of CSV"),
        (b"path,title\na/1.png,One\na/1.png,Two\n", r"manifest\.csv:3"),
        (b"path,title\na/1.png,caf\xe9\n", r"manifest\.csv:2: must be UTF-8; byte 11 "),
        (b"path,Title,title\na/1.png,A,B\n", r"csv:2: .* once; received 'title' twice"),
        (b"path,title\na/1.png,Fruit, and wine\n", r"csv:2: .* at most the 2 cells .* received 3"),
        (b'path,title\na/1.png,"One\nb/1.png,Two\n', r"csv:2: not a row of CSV"),
        (
            b"path,id\nb/1.png,X\n\nb/2.png,Y\na/1.png,X\n",
            r"manifest\.csv:5: ids must be unique; received 'X', which b/1\.png has already$",
        ),
        (b"path,id\na/1.png,A\nb/1.png,../X\n", r"manifest\.csv:3: .*no '/'.*'\.\./X'$"),
        (b"path,id\na/1.png," + b"x" * 129, r"manifest\.csv:2: an id has 1 to 128"),
        (b"path,id\na/1.png,.", r"manifest\.csv:2: .*received '\.'$"),
        (b"path,id\na/1.png,..", r"manifest\.csv:2: .*received '\.\.'$"),
    ],
)
def test_a_bad_manifest_is_said_with_its_place(root: Path, text: bytes, said: str) -> None:
    (root / "manifest.csv").write_bytes(text)
    with pytest.raises(BadInput, match=said):
        read_collection(root)


def test_csv_of_spreadsheets_is_read(tmp_path: Path) -> None:
    """With a mark, in UTF-16, with semicolons or tabs, with lines of empty cells at the end."""
    text = 'Path;ID;Inventory No.\r\n"a b.png";7;"1889;2"\r\n;;\r\n\r\nc.png;é;\r\n;;\r\n'
    expected = [
        Row(2, "a b.png", {"id": "7", "Inventory No.": "1889;2"}),
        Row(5, "c.png", {"id": "é"}),
    ]
    path = tmp_path / "m.csv"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert read_manifest(path).rows == expected
        path.write_bytes(text.replace("1889;2", "1889,2").replace(";", "\t").encode(encoding))
        assert read_manifest(path).rows[1] == expected[1]
    path.write_bytes(text.encode("utf-16")[:-1])
    assert "not UTF-16" in read_manifest(path).problems[0]


def test_a_row_is_named_by_the_line_it_begins_in(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('path,note\na.png,"two\nlines"\n,no path\nb.png,"cut')
    found = read_manifest(tmp_path / "m.csv")
    assert [row.line for row in found.rows] == [2]
    assert [problem.partition("m.csv:")[2][:2] for problem in found.problems] == ["4:", "5:"]


def test_json_lines_are_read(tmp_path: Path) -> None:
    """A mark, blank lines, CRLF; values as they stand there, NaN and null not given."""
    lines = [
        '{"path": "a.png", "id": 7, "year": 1990.10, "big": 12345678901234567890, "x": 1e999}',
        "",
        "  ",
        '{"path": "b.png", "title": null, "artist": NaN, "medium": ["oil", null, 3], "on": true}',
        '{"path": "c.png", "size": {"h": 1.5, "of": ["a", NaN]}, "title": "  ", "": "nameless"}',
    ]
    path = tmp_path / "m.jsonl"
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    found = read_manifest(path)
    assert found.problems == []
    assert found.rows == [
        Row(
            1,
            "a.png",
            {"id": "7", "year": "1990.10", "big": "12345678901234567890", "x": "1E+999"},
        ),
        Row(4, "b.png", {"medium": "oil; 3", "on": "true"}),
        Row(5, "c.png", {"size": '{"h": 1.5, "of": ["a", null]}'}),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"path": "a/1.png", "ti', r"m\.jsonl:3: not JSON: "),
        (b'["a/1.png"]', r"m\.jsonl:3: a line must be an object"),
        (b"a/1.png", r"m\.jsonl:3: not JSON: "),
        (b'{"title": "One"}', r"m\.jsonl:3: every row needs a path$"),
        (b'{"path": null}', r"m\.jsonl:3: every row needs a path$"),
        (b'{"path": "a/1.png", "path": "b/1.png"}', r"m\.jsonl:3: .* stands twice"),
        (b'{"path": "a/1.png", "Title": "1", "title": "2"}', r"m\.jsonl:3: .*'title' twice"),
        (b'{"path": "a/1.png", "title": "\\ud800"}', r"m\.jsonl:3: title: .* whole characters"),
        (b'{"path": "a/1.png", "title": "\xe9"}', r"m\.jsonl:3: must be UTF-8; byte 30 "),
        (b'{"path": "a/1.png", "n": ' + b"9" * 5000 + b"}", r"m\.jsonl:3: not JSON: Exceeds"),
        (b'{"path": "a/1.png", "n": ' + b"[" * 99_999 + b"}", r"m\.jsonl:3: not JSON: "),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_read(
    tmp_path: Path, line: bytes, said: str
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"path": "b/2.png"}\n\n' + line + b'\n{"path": "b/3.png"}\n')
    found = read_manifest(path)
    assert [row.path for row in found.rows] == ["b/2.png", "b/3.png"]
    (problem,) = found.problems
    assert re.search(said, problem)


def test_all_problems_are_said_at_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"path": "a/1.png", "id": "X"}', '{"path": "a/1.png"}', "{", '{"path": "b/1.png", ']
    rows += ['{"path": "b/2.png", "id": "X"}', '{"path": "b/1.png", "id": "a/b"}']
    rows += ['{"path": "b/9.png"}']  # alone it would be passed over
    (root / "manifest.jsonl").write_text("\n".join(rows))
    with pytest.raises(BadRows) as refused:
        read_collection(root)
    found = [problem.partition("manifest.jsonl:")[2] for problem in refused.value.problems]
    assert [problem[:16] for problem in found] == [
        "3: not JSON: Exp",
        "4: not JSON: Exp",
        "2: a file has on",
        "5: ids must be u",
        "6: an id has 1 t",
        "7: no picture 'b",
    ]
    assert found[2].endswith("'a/1.png' has that of " + f"{root}/manifest.jsonl:1 already")
    assert artkin.main(["check", str(root)]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == refused.value.problems
    assert said.err.count("\n") == 1
    assert artkin.main(["check", str(root), "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"problems": refused.value.problems}


def test_line_100_is_printed_as_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rich makes a picture of ":100:" unless it is told not to."""
    (root / "manifest.jsonl").write_text("\n" * 99 + "{\n")
    assert artkin.main(["check", str(root)]) == 2
    assert capsys.readouterr().out.startswith(f"{root}/manifest.jsonl:100: not JSON")


def test_parquet_is_read() -> None:
    """A file of PyArrow's (`golden/make_parquet.py`), with dates, numbers, lists, nulls."""
    pytest.importorskip("duckdb")
    found = read_manifest(GOLDEN / "manifest.parquet")
    assert found.problems == []
    assert found.rows == [
        Row(
            1,
            "a/1.png",
            {
                "title": "Blé",
                "number": "7",
                "year": "1889",
                "price": "1.10",
                "date": "1889-01-02",
                "bought": "1900-05-06",
                "medium": "oil; canvas",
                "makers": '[{"name": "A", "born": 1853}]',
                "size": '{"height": 1.5, "unit": "cm"}',
                "on view": "true",
            },
        ),
        Row(2, "b/1.png", {"scanned": "2020-05-06T07:08:00+00:00", "on view": "false"}),
        Row(
            3,
            "b/2.png",
            {
                "number": "9",
                "year": "1.5",
                "price": "2.25",
                "date": "1600-01-01",
                "bought": "1900-05-06T07:08:00",
                "medium": "ink",
            },
        ),
    ]


def test_parquet_in_a_folder_with_odd_signs_is_joined(root: Path) -> None:
    pytest.importorskip("duckdb")
    moved = root.rename(root.with_name("[a]* key=value"))
    (moved / "manifest.parquet").write_bytes((GOLDEN / "manifest.parquet").read_bytes())
    works = {work.name: work for work in read_collection(moved).works}
    assert works["a/1.png"].metadata["title"] == "Blé"
    assert "key" not in works["b/2.png"].metadata


@pytest.mark.parametrize("cut", [0, 8, 300, -8, -300])
def test_a_damaged_parquet_file_is_said(tmp_path: Path, cut: int) -> None:
    pytest.importorskip("duckdb")
    path = tmp_path / "m.parquet"
    path.write_bytes((GOLDEN / "manifest.parquet").read_bytes()[:cut])
    with pytest.raises(BadInput, match=r"m\.parquet must be a Parquet file: ") as refused:
        read_manifest(path)
    assert "\n" not in str(refused.value)


def test_bytes_in_a_parquet_file_are_a_problem_of_each_row(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "m.parquet"
    rows = "SELECT 'a.png' AS path, 'abc'::BLOB AS picture, {'p': 'abc'::BLOB} AS nested"
    duckdb.sql(f"COPY ({rows}) TO '{path}'")
    assert read_manifest(path).problems == [
        f"{path}:1: picture: must be text, numbers or dates; received 3 bytes"
    ]


def test_without_duckdb_the_command_says_what_to_install(root: Path) -> None:
    (root / "manifest.parquet").write_bytes(b"PAR1")
    code = "import sys; sys.modules['duckdb'] = None; import artkin; "
    code += f"sys.exit(artkin.main(['check', {str(root)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("needs one more package: pip install 'artkin[parquet]'\n")
