"""How benchmarks are called; what they measure is in `benchmarks/results/`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import command

ROOT = Path(__file__).parents[1]
NAMES = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()
)


def call(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`python -m benchmarks.NAME` in this process; its exit code."""
    if name == "fuzz":
        pytest.importorskip("atheris")
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        command.run(module.main)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", NAMES)
def test_help_is_what_the_benchmark_says_of_itself(name: str, monkeypatch, capsys) -> None:
    assert call(name, monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in said  # its lines as they are written


@pytest.mark.parametrize("name", NAMES)
def test_nonsense_gets_one_line(name: str, monkeypatch, capsys) -> None:
    for arguments in (["nosuch"] * 4, ["--nosuch"], ["nosuch", "nosuch", "--seeds", "0"]):
        assert call(name, monkeypatch, *arguments) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1, said
        assert "error:" in said


def test_what_artkin_refuses_is_one_line(monkeypatch, capsys, tmp_path) -> None:
    assert call("paintings", monkeypatch, "seed", str(tmp_path), "--seeds", "nan") == 2
    (tmp_path / "manifest.json").write_text("{")
    assert call("runtime", monkeypatch, str(tmp_path)) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "invalid count value: 'nan'" in said[0]
    assert str(tmp_path) in said[1]


def test_ctrl_c_is_one_line(capsys) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        command.run(interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_demo_of_no_folder_leaves_none(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "examples" / "demo.py"), "nosuch"]
    done = subprocess.run(
        demo,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout + done.stderr) == (
        2,
        "DATA must be a folder of pictures, a folder a class; received nosuch\n",
    )
    assert not list(tmp_path.iterdir())
