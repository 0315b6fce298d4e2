"""`artkin report RUN`: what a training run did, as one page, `report.html`, and in `report.json`.

The page needs no network and no other file: it may be mailed, or opened years later.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from index.progress import say
from index.space.artefact import new_file
from index.space.errors import BadInput
from index.space.metrics import evaluate
from training.dataset import Dataset, load_dataset
from training.diagnosis import diagnose
from training.document import count, final, phases
from training.health import health
from training.report.page import render
from training.report.tested import WorksTested, load_tested
from training.run_file import RUN, read_recipe
from training.state import load_state, reading

REPORT, PAGE = "report.json", "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run", type=Path, help="folder of a training run, ended or under way")


def main(options: argparse.Namespace) -> None:
    """Run the command."""
    report = write_report(options.run)
    for text in report["summary"]:
        say(text)
    for finding in report["findings"]:
        phase = f", phase {finding['phase']}" if finding["phase"] else ""
        say(f"{finding['severity']} ({finding['rule']}{phase}): {finding['text']}")
    say(f"next experiment: {report['next_experiment']['text']}")


def write_report(folder: Path) -> dict[str, Any]:
    """Write a run's page, and its findings into its report document where the run has ended.

    Returns:
        The document with `summary`, `findings` and `next_experiment`, and for each phase
        `embedding`, what `training.health` says of its test works' vectors.

    Raises:
        BadInput: no run in the folder, or none of its phases has ended.
        ArtefactError: one of its files is missing or damaged.
    """
    if not ((folder / RUN).is_file() or (folder / REPORT).is_file()):
        raise BadInput(f"{folder} must be the folder of a training run; it has no {RUN}")
    dataset = load_dataset(folder)
    ended = (folder / REPORT).is_file()
    document = _read_report(folder / REPORT) if ended else _report_so_far(folder, dataset)
    shown = _add_health(document, folder, dataset)
    if not isinstance(document.get("data"), Mapping):
        document["data"] = {"by_class": _by_class(dataset)}
    document |= diagnose(document)
    say("drawing the report")
    page = render(document, dataset, shown, under_way=not ended)
    with new_file(folder / PAGE) as path:
        # A file's name may hold bytes that are no text.
        path.write_text(page, encoding="utf-8", errors="replace")
    if ended:
        with new_file(folder / REPORT) as path:
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    say(f"report: {folder / PAGE}")
    return document


def _read_report(path: Path) -> dict[str, Any]:
    with reading(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError(f"a {type(document).__name__}, not an object")
        return document


def _report_so_far(folder: Path, dataset: Dataset) -> dict[str, Any]:
    """The document of a run that has not ended, from its saved state."""
    recipe = read_recipe(folder)
    state = load_state(folder)
    reports = state.reports if state else []
    if not phases({"phases": reports}):
        raise BadInput(f"no phase of the run in {folder} has ended; ask again when one has")
    untrained = load_tested(folder, 0, dataset)
    return {
        "recipe": recipe,
        "classes": dataset.classes,
        "works": {part: len(rows) for part, rows in dataset.parts.items()},
        "untrained": evaluate(untrained.embeddings, untrained.labels).as_dict(),
        "phases": reports,
        "kept_phase": max((p["phase"] for p in reports if p["kept"]), default=None),
    }


def _add_health(document: dict[str, Any], folder: Path, dataset: Dataset) -> WorksTested:
    """Put `embedding` into each phase; return the test works under the final model."""
    untrained = load_tested(folder, 0, dataset)
    before = document.get("untrained")
    document["untrained"] = dict(before) if isinstance(before, Mapping) else {}
    document["untrained"]["embedding"] = health(untrained.embeddings)
    shown, last = untrained, final(document)
    for phase in phases(document):
        tested = load_tested(folder, count(phase, "phase") or 0, dataset)
        phase["embedding"] = health(tested.embeddings)
        if phase is last:
            shown = tested
    return shown


def _by_class(dataset: Dataset) -> dict[str, dict[str, int]]:
    return {
        label: {
            part: int((dataset.labels[dataset.parts[part]] == code).sum())
            for part in ("train", "validation", "test")
        }
        for code, label in enumerate(dataset.classes)
    }
