"""`artkin evaluate`: Precision@k and silhouette of a release.

    artkin evaluate --releases releases [--release ID] [--k 5] [--json]

Two sets of numbers: over the labelled works that the model has not seen, which say what new works
can expect and are the test part of the training report; and over all labelled works, which
flatter, since the model was trained on most of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from index.catalogue import Entry
from index.progress import console, figure, say
from index.publish import choose_release
from index.release import Release, current_release, open_release
from index.space.errors import BadInput
from index.space.metrics import evaluate, nearest

_ERRORS = 20
_DIGITS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin evaluate`."""
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where they are")
    parser.add_argument("--release", metavar="ID", help="the release; without it, the published")
    parser.add_argument(
        "--k",
        type=int,
        default=5,
        help="neighbours that count (default 5); where fewer other works exist, all of them do",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def main(options: argparse.Namespace) -> None:
    """Run `artkin evaluate`."""
    release = open_release(_folder(options.releases, options.release))
    try:
        result = evaluate_release(release, options.k)
    finally:
        release.close()
    if options.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _show(result)


def evaluate_release(release: Release, k: int = 5) -> dict[str, Any]:
    """Measure a release on its own labels, leave-one-out.

    Args:
        k: neighbours that count, >= 1.

    Returns:
        JSON types: `unseen` and `all` are `Evaluation.as_dict()` or None, `note` says which of
        them counts, `errors` are the most confident wrong nearest neighbours of the one that does.

    Raises:
        BadInput: k < 1.
    """
    if k < 1:
        raise BadInput(f"k must be >= 1; received {k}")
    labelled = [entry for entry in release.catalogue.entries() if entry.label is not None]
    unseen = [entry for entry in labelled if not entry.seen]
    enough = len(unseen) >= 2
    return {
        "release": release.id,
        "model": release.manifest.model,
        "k": k,
        "works": release.manifest.works,
        "labelled": len(labelled),
        "unseen": _evaluate(release, unseen, k) if enough else None,
        "all": _evaluate(release, labelled, k) if labelled else None,
        "note": _note(len(labelled), len(unseen)),
        "errors": _errors(release, unseen if enough else labelled),
    }


def _folder(releases: Path, id_: str | None) -> Path:
    return current_release(releases) if id_ is None else releases / choose_release(releases, id_)


def _evaluate(release: Release, entries: Sequence[Entry], k: int) -> dict[str, Any]:
    labels = [str(entry.label) for entry in entries]
    return evaluate(_embeddings(release, entries), labels, k).as_dict()


def _embeddings(release: Release, entries: Sequence[Entry]) -> NDArray[np.float32]:
    return release.vectors.get(np.asarray([entry.row for entry in entries], np.int64))


def _note(labelled: int, unseen: int) -> str:
    if not labelled:
        return "no work has a label, so there is nothing to measure; put works in class folders"
    if unseen < 2:
        return (
            f"the model was trained on all but {unseen} of the {labelled} labelled works: numbers "
            "over works it has seen flatter; index works it has not seen to measure it"
        )
    return (
        f"'unseen' counts: {unseen} works the model was neither trained on nor chosen with; "
        "'all' has works it has seen among them and flatters"
    )


def _errors(release: Release, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Works whose nearest other work has another label, the most similar pairs first."""
    embeddings = _embeddings(release, entries)
    wrong = []
    for query, rows in enumerate(nearest(embeddings, 1)):
        for row in rows:
            if entries[row].label != entries[query].label:
                wrong.append((float(embeddings[query] @ embeddings[row]), query, int(row)))
    wrong.sort(key=lambda error: (-error[0], error[1]))
    return [
        {
            "query": entries[query].id,
            "query_label": entries[query].label,
            "neighbour": entries[row].id,
            "neighbour_label": entries[row].label,
            "score": score,
        }
        for score, query, row in wrong[:_ERRORS]
    ]


def _show(result: dict[str, Any]) -> None:
    say(f"release {result['release']}, model {result['model']}, {result['works']} works")
    sets = [(name, result[name]) for name in ("unseen", "all") if result[name] is not None]
    if sets:
        table = Table()
        table.add_column("")
        for name, measured in sets:
            table.add_column(f"{name} ({measured['works']})", justify="right")
        for title, key in (
            (_precision_title(result["k"], [measured for _, measured in sets]), "precision"),
            ("silhouette", "silhouette"),
            ("silhouette, cosine", "silhouette_cosine"),
        ):
            table.add_row(title, *(figure(measured[key], _DIGITS) for _, measured in sets))
        for label in sets[-1][1]["precision_by_class"]:
            by_class = (measured["precision_by_class"].get(label) for _, measured in sets)
            table.add_row(Text(label), *(figure(value, _DIGITS) for value in by_class))
        console.print(table)
    say(result["note"])


def _precision_title(k: int, sets: Sequence[dict[str, Any]]) -> str:
    """Says the denominators, in the order of the columns, where fewer than k other works exist."""
    denominators = [measured["denominator"] for measured in sets]
    if min(denominators) == k:
        return f"Precision@{k}"
    return f"Precision@{k} (of {' and '.join(map(str, denominators))} others)"
