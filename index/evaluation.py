"""`artkin evaluate`: how good a release is, how sure that is, and what it has to beat.

    artkin evaluate --releases releases [--release ID] [--model DIR] [--against ID] [--k 5] [--json]

Two sets of numbers: over the labelled works that the model has not seen, which say what new works
can expect and are the test part of the training report; and over all labelled works, which
flatter, since the model was trained on most of them. Protocols, baselines and robustness
(`protocols.py`) are over the first where there is one. The service calls the same function.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from index.catalogue import Entry
from index.evaluation_tables import show
from index.looks import looked_at
from index.match import check_match, model_for
from index.progress import add_progress, on_stderr, progress_as
from index.protocols import (
    against_seen,
    artist_disjoint,
    embeddings_of,
    labels_of,
    looks,
    robustness,
)
from index.release import Release, open_release
from index.releases import choose_release, current_release
from index.space.comparison import compare
from index.space.encoder import Encoder
from index.space.errors import BadInput
from index.space.metrics import evaluate
from index.space.model import load_model
from index.space.ranking import nearest, sample

_ERRORS = 20
_JUDGED = 2000  # the interval is 0.02 wide at most, and a job's memory stays that of its model
_NO_OTHER = "there is no other work that a picture could be taken for"
_NO_ENCODER = "pictures can be changed and asked with only by the model: name it with --model"


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
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="the release's model: measures too whether changed pictures find their own work",
    )
    parser.add_argument(
        "--against", metavar="ID", help="another release: is one better over the works of both?"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    add_progress(parser)


def main(options: argparse.Namespace) -> None:
    """Run `artkin evaluate`."""
    with ExitStack() as opened:
        opened.enter_context(progress_as(options.progress))
        if options.json:
            opened.enter_context(on_stderr())
        release = _open(options.releases, options.release, opened)
        other = _open(options.releases, options.against, opened) if options.against else None
        encoder = None
        if options.model is not None:
            model = load_model(model_for(options.model, release.manifest))
            check_match(model, release)
            encoder = Encoder(model, batch=1)  # as the service has it: the same digits
            encoder.check_canaries()
        result = evaluate_release(release, options.k, encoder, other)
    if options.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        show(result)


def evaluate_release(
    release: Release, k: int = 5, encoder: Encoder | None = None, other: Release | None = None
) -> dict[str, Any]:
    """Measure a release on its own labels.

    Args:
        k: neighbours that count, >= 1.
        encoder: of the release's model; without it there is no robustness.
        other: a release to compare with.

    Returns:
        JSON types: `unseen` and `all` are `Evaluation.as_dict()` or None, `note` says which of
        them counts; `protocols`, `baselines`, `robustness` and `errors`, the most confident wrong
        nearest neighbours, are of the one that does; `reasons` says why something is None.

    Raises:
        BadInput: k < 1.
    """
    if k < 1:
        raise BadInput(f"k must be >= 1; received {k}")
    entries = list(release.catalogue.entries())
    labelled = [entry for entry in entries if entry.label is not None]
    unseen = [entry for entry in labelled if not entry.seen]
    enough = len(unseen) >= 2
    counts = unseen if enough else labelled
    everything = _evaluate(release, labelled, k) if labelled else None
    if enough and len(unseen) == len(labelled):
        unseen_only = everything
    else:
        unseen_only = _evaluate(release, unseen, k) if enough else None
    model = encoder.model if encoder else None
    looked = looks(release, counts, k, model)
    asked = _robustness(release, entries, encoder)
    return {
        "release": release.id,
        "model": release.manifest.model,
        "k": k,
        "works": release.manifest.works,
        "labelled": len(labelled),
        "unseen": unseen_only,
        "all": everything,
        "note": _note(len(labelled), len(unseen)),
        "protocols": _protocols(release, labelled, counts, k)
        | {"near_duplicate_disjoint": looked["near_duplicate_disjoint"]},
        "baselines": looked["baselines"],
        "robustness": asked,
        "comparison": None if other is None else _against(release, other, k),
        "errors": _errors(release, counts),
        "reasons": _reasons(asked),
    }


def _against(release: Release, other: Release, k: int) -> dict[str, Any]:
    judges, which = works_to_judge_by(release, other)
    return {**compare_releases(release, other, judges, k), "of": which}


def compare_releases(
    release: Release,
    other: Release,
    entries: Sequence[Entry],
    k: int,
    own_classes: bool = False,
) -> dict[str, Any]:
    """Whether one release's Precision@k over the works of both differs by more than chance.

    Works are joined by id; classes are those of the first release, and so is which works count.

    Args:
        own_classes: judge each release by the classes that it has itself.
    """
    pairs = [(entry, other.catalogue.by_id(entry.id)) for entry in entries]
    both = [(entry, twin) for entry, twin in pairs if twin is not None]
    names = {"release": other.id, "model": other.manifest.model, "works": len(both)}
    if len(both) < 2:
        verdict = f"not comparable: the releases share {len(both)} of the works that count"
        return {**names, "verdict": verdict}
    found = compare(
        embeddings_of(release, [entry for entry, _ in both]),
        embeddings_of(other, [twin for _, twin in both]),
        labels_of([entry for entry, _ in both]),
        k,
        labels_of([twin for _, twin in both]) if own_classes else None,
    )
    return {**names, **asdict(found)}


def works_to_judge_by(release: Release, other: Release | None) -> tuple[list[Entry], str]:
    """Works that say fairly which of two releases is better: those with a class that neither's
    model has seen, of both, since each flatters the model that was trained on it.

    Args:
        other: None, the first is judged alone.

    Returns:
        The first release's entries, at most 2,000 by a fixed seed, and which they are, in words.
    """
    both, unseen = [], []
    for entry in release.catalogue.entries():
        twin = entry if other is None else other.catalogue.by_id(entry.id)
        if entry.label is not None and twin is not None and twin.label is not None:
            both.append(entry.row)
            if not (entry.seen or twin.seen):
                unseen.append(entry.row)
    if len(unseen) >= 2:
        rows, which = unseen, "works that neither model has seen"
    else:
        rows, which = both, "works that the models have seen, which flatters"
    return release.catalogue.by_rows(
        looked_at(rows)
    ), which if rows else "no work of both has a class"


def _open(releases: Path, id_: str | None, opened: ExitStack) -> Release:
    chosen = None if id_ is None else choose_release(releases, id_)
    folder = current_release(releases) if chosen is None else releases / chosen
    release = open_release(folder)
    opened.callback(release.close)
    return release


def _evaluate(release: Release, entries: Sequence[Entry], k: int) -> dict[str, Any]:
    parts = release.manifest.parts
    return evaluate(embeddings_of(release, entries), labels_of(entries), k, parts=parts).as_dict()


def _protocols(
    release: Release, labelled: Sequence[Entry], counts: Sequence[Entry], k: int
) -> dict[str, Any]:
    unseen = [entry for entry in labelled if not entry.seen]
    seen = [entry for entry in labelled if entry.seen]
    return {
        "against_seen": against_seen(release, unseen, seen, k),
        "artist_disjoint": artist_disjoint(release, counts, k),
    }


def _robustness(
    release: Release, entries: Sequence[Entry], encoder: Encoder | None
) -> dict[str, Any] | None:
    """Over works the model has not seen, labelled or not, where there are two of them."""
    if encoder is None:
        return None
    unseen = [entry for entry in entries if not entry.seen]
    chosen, name = (unseen, "unseen") if len(unseen) >= 2 else (entries, "all")
    return {"of": name, **robustness(release, chosen, encoder)}


def _reasons(asked: dict[str, Any] | None) -> dict[str, str]:
    if asked is None:
        return {"robustness": _NO_ENCODER}
    return {"robustness": _NO_OTHER} if asked["recall"]["value"] is None else {}


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
    embeddings = embeddings_of(release, entries)
    asked = sample(len(entries), len(entries))
    wrong = []
    for query, rows in zip(asked.tolist(), nearest(embeddings, 1, asked), strict=True):
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
