"""What `artkin evaluate` prints: the numbers as tables, a 95 % interval beside each mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from index.progress import console, figure, say
from index.space.retrieval import CUTOFFS

_DIGITS = 4
_PROTOCOLS = {
    "against_seen": "against seen works",
    "artist_disjoint": "other artists only",
    "near_duplicate_disjoint": "without copies",
}
_BASELINES = {
    "model": "this model",
    "imagenet_features": "ImageNet features",
    "colour_histogram": "colour histogram",
}
Measured = dict[str, Any]


def show(result: dict[str, Any]) -> None:
    """Print the result of `evaluate_release`."""
    say(f"release {result['release']}, model {result['model']}, {result['works']} works")
    sets = {name: result[name] for name in ("unseen", "all") if result[name] is not None}
    if sets:
        console.print(_sets(sets, result["k"]))
        _say_reasons(sets)
    say(result["note"])
    if not sets:
        return
    _show_protocols(result)
    _show_baselines(result)
    _show_robustness(result)
    if result["comparison"] is not None:
        _show_comparison(result)


def _sets(sets: dict[str, Measured], k: int) -> Table:
    columns = {f"{name} ({found['works']})": found for name, found in sets.items()}
    table = _measures(columns, k)
    for title, key in (("silhouette", "silhouette"), ("silhouette, cosine", "silhouette_cosine")):
        table.add_row(title, *(figure(found[key], _DIGITS) for found in sets.values()))
        parts = [found["parts"] for found in sets.values()]
        for name in parts[0] if len(parts[0]) > 1 else ():
            row = (figure(part[name][key], _DIGITS) for part in parts)
            table.add_row(Text(f"{title}: part {name}"), *row)
    table.add_section()
    for label in list(sets.values())[-1]["measures_by_class"]:
        by_class = (found["measures_by_class"].get(label) for found in sets.values())
        table.add_row(Text(label), *(_mean(f[f"precision_at_{k}"]) if f else "-" for f in by_class))
    return table


def _measures(columns: dict[str, Measured], k: int) -> Table:
    """A column a set: P@k with what bounds it, then the other means."""
    table = Table()
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    sets = list(columns.values())
    table.add_row(_title(k, sets), *(_mean(f["measures"][f"precision_at_{k}"]) for f in sets))
    table.add_row("  a perfect order", *(figure(f["ceiling"], _DIGITS) for f in sets))
    table.add_row("  chance", *(figure(f["chance"], _DIGITS) for f in sets))
    for cutoff in CUTOFFS:
        if cutoff != k:
            key = f"precision_at_{cutoff}"
            table.add_row(_title(cutoff, sets), *(_mean(f["measures"][key]) for f in sets))
            ceilings = [found["ceilings"][key] for found in sets]
            if any(ceiling is not None and ceiling < 1 for ceiling in ceilings):
                table.add_row("  a perfect order", *(figure(c, _DIGITS) for c in ceilings))
    for title, key in (
        *((f"recall@{cutoff}", f"recall_at_{cutoff}") for cutoff in CUTOFFS),
        ("mAP", "mean_average_precision"),
        ("mAP@R", "mean_average_precision_at_r"),
        ("R-precision", "r_precision"),
        (f"accuracy of {k} neighbours' vote", "knn_accuracy"),
    ):
        table.add_row(title, *(_mean(found["measures"][key]) for found in sets))
    table.add_row("works asked", *(str(found["queries"]) for found in sets))
    left_out = (str(found["queries_without_relevant"]) for found in sets)
    table.add_row("  with nothing to find, left out", *left_out)
    return table


def _title(k: int, sets: Sequence[Measured]) -> str:
    """Says the denominators, in the order of the columns, where fewer than k other works exist."""
    denominators = [min(k, found["findable"]) for found in sets]
    if min(denominators) == k:
        return f"Precision@{k}"
    return f"Precision@{k} (of {' and '.join(map(str, denominators))} others)"


def _show_protocols(result: dict[str, Any]) -> None:
    protocols = {_PROTOCOLS[name]: found for name, found in result["protocols"].items()}
    measured = {name: p["measured"] for name, p in protocols.items() if p["measured"] is not None}
    if measured:
        console.print(_measures(measured, result["k"]))
        _say_reasons(measured)
    for name, protocol in protocols.items():
        say(f"{name}: {protocol['note']}")


def _show_baselines(result: dict[str, Any]) -> None:
    found = result["baselines"]
    measured = {title: found["measured"].get(name) for name, title in _BASELINES.items()}
    if columns := {title: one for title, one in measured.items() if one is not None}:
        console.print(_measures(columns, result["k"]))
        _say_reasons(columns)
    say(found["note"])
    for name, reason in found["reasons"].items():
        say(f"{_BASELINES[name]}: {reason}")


def _show_robustness(result: dict[str, Any]) -> None:
    found = result["robustness"]
    if reason := result["reasons"].get("robustness"):
        say(f"same-work recall: {reason}")
        return
    table = Table()
    table.add_column(f"same-work recall@1, {found['works']} works among {found['gallery']}")
    table.add_column("", justify="right")
    for name, mean in found["by_perturbation"].items():
        table.add_row(name.replace("_", " "), _mean(mean))
    table.add_section()
    table.add_row("all but unchanged", _mean(found["recall"]))
    console.print(table)


def _show_comparison(result: dict[str, Any]) -> None:
    found = result["comparison"]
    say(f"against release {found['release']}, model {found['model']}: {found['of']}")
    say(f"works compared: {found['works']}")
    if found.get("difference"):
        k, difference = found["k"], _mean(found["difference"])
        one, other = figure(found["precision"], _DIGITS), figure(found["precision_other"], _DIGITS)
        say(f"Precision@{k} {one}, there {other}; difference {difference}")
    say(found["verdict"])


def _say_reasons(sets: dict[str, Measured]) -> None:
    for name, found in sets.items():
        for key, reason in found["reasons"].items():
            say(f"{name}: no {key.replace('_', ' ')}: {reason}")


def _mean(mean: dict[str, float | None]) -> str:
    value = figure(mean["value"], _DIGITS)
    if mean["low"] is None:
        return value
    return f"{value} ({figure(mean['low'])} to {figure(mean['high'])})"
