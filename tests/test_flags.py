"""Every flag that a message names is one: whoever is told to use it can."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import artkin
from app.options import PictureOptions
from app.settings import Settings

ROOT = Path(__file__).parents[1]
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
OTHERS = {"--data-binary"}  # curl's, in examples of OpenAPI
STYLE = {"--bk-"}  # no flag: a variable of CSS


def flags_of(command: str) -> set[str]:
    parser = argparse.ArgumentParser()
    importlib.import_module(artkin.COMMANDS[command][0]).add_arguments(parser)
    return set(parser._option_string_actions)


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """Of each command."""
    return {command: flags_of(command) for command in artkin.COMMANDS}


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the code that is no docstring, with its place."""
    for folder in ("app", "index", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = [one.value for one in node.values if isinstance(one, ast.Constant)]
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", "X".join(parts)
                elif isinstance(node, ast.Constant) and id(node) not in docstrings:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", str(node.value)


def test_every_flag_that_is_named_exists(flags: dict[str, set[str]]) -> None:
    every = set().union(*flags.values())
    named = [(place, flag) for place, text in texts() for flag in FLAG.findall(text)]
    assert len({flag for _, flag in named}) > 40
    assert [one for one in named if one[1] not in every | OTHERS | STYLE] == []


def test_a_command_that_is_named_has_its_flags(flags: dict[str, set[str]]) -> None:
    wrong = []
    for place, text in texts():
        for command, rest in re.findall(r"artkin (\w+)\b([^;`]*)", text):
            said = FLAG.findall(rest) if command in flags else []
            wrong += [(place, command, flag) for flag in said if flag not in flags[command]]
    assert wrong == []


def test_every_setting_is_a_flag_of_serve(flags: dict[str, set[str]]) -> None:
    settings = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    assert flags["serve"] - {"-h", "--help"} == settings
    for name in Settings.model_fields:
        assert f"`ARTKIN_{name.upper()}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_option_of_a_search_is_a_flag_of_query(flags: dict[str, set[str]]) -> None:
    options = {name if len(name) > 1 else f"-{name}" for name in PictureOptions.model_fields}
    options = {n if n.startswith("-") else f"--{n.replace('_', '-')}" for n in options}
    assert options - flags["query"] == set()
