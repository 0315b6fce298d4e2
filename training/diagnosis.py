"""A run's report, read as an expert would: each phase in words, what was found, what to try next.

A function of the report document alone (`report.json`); the rules are in `rules.py` and
`data_rules.py`, one function each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from index.progress import figure
from training.data_rules import DATA_RULES
from training.document import (
    Document,
    at_best,
    best_epoch,
    count,
    curve,
    items,
    known,
    layers_in_words,
    number,
    phases,
    plan,
    word,
)
from training.presets import PRESETS
from training.rules import PHASE_RULES, RULES, Finding

# The preset that answers what goes wrong in a first run, and what it consists of.
RECOMMENDED = "recommended"
SETTINGS = (
    "an embedding of 256 or 512 dimensions",
    "BatchNormalization after pooling",
    "unfreeze the last 20 to 30 layers, or block 7, which so few bear: 2e-4 at the most",
    "5 to 10 epochs a phase, with EarlyStopping",
    "cosine decay of the rate, or warm-up before it",
    "256 x 256 pixels, without enlarging",
    "100 to 200 test images a class",
)
# Presets that were not drawn from any diagnosis.
_FIRST = ("seed",)


def diagnose(document: Document) -> dict[str, Any]:
    """The document's `summary`, `findings` and `next_experiment`, as JSON types."""
    findings = find(document)
    return {
        "summary": [summarise(document, phase) for phase in items(document, "phases")],
        "findings": [finding.as_dict() for finding in findings],
        "next_experiment": next_experiment(document, findings),
    }


def find(document: Document) -> list[Finding]:
    """What all rules find, phase by phase, then of the whole run."""
    by_phase = [rule(document, phase) for phase in phases(document) for rule in PHASE_RULES]
    whole = [rule(document) for rule in (*RULES, *DATA_RULES)]
    return [finding for finding in (*by_phase, *whole) if finding is not None]


def summarise(document: Document, phase: Document) -> str:
    """One phase in words."""
    name = f"Phase {count(phase, 'phase') or '?'}"
    if not isinstance(phase, dict):
        return f"{name}: nothing is known of it."
    if phase.get("skipped"):
        return f"{name} was skipped."
    rate = number(plan(document, phase), "learning_rate")
    epochs = len(items(phase, "epochs"))
    told = f"{name} trained {layers_in_words(document, phase)}"
    told += f" for {epochs} epoch{'' if epochs == 1 else 's'}" if epochs else ""
    told += f" at a rate of {rate:g}" if rate is not None else ""
    told += ", ended by EarlyStopping." if phase.get("stopped_early") is True else "."
    return " ".join([told, *_validation(phase), *_test(phase), *_verdict(phase)])


def next_experiment(document: Document, findings: Sequence[Finding]) -> dict[str, Any]:
    """What to train next: the recommended preset after a first or a foreign run; after a run of a
    later preset the same with what the findings ask for; nothing where there is nothing to mend.
    """
    open_ = [finding for finding in findings if finding.severity != "good"]
    name = word(document, "recipe", "name")
    if not open_:
        return _experiment(None, "Nothing to mend: export this run.", (), open_)
    if name not in PRESETS or name in _FIRST:
        text = f"Train again with the preset {RECOMMENDED}."
        return _experiment(RECOMMENDED, text, SETTINGS, open_)
    steps = tuple(dict.fromkeys(finding.next_step for finding in open_ if finding.next_step))
    text = f"Train {name} again after what follows; its recipe is training/presets/{name}.py."
    return _experiment(name, text, steps, open_)


def _experiment(
    preset: str | None, text: str, settings: Sequence[str], findings: Sequence[Finding]
) -> dict[str, Any]:
    return {
        "preset": preset,
        "text": text,
        "command": f"artkin train DATA --preset {preset} --run runs/next" if preset else None,
        "settings": list(settings),
        "because": list(dict.fromkeys(finding.rule for finding in findings)),
    }


def _validation(phase: Document) -> list[str]:
    values, epoch = known(curve(phase)), best_epoch(phase)
    if not values:
        return []
    told = f"Validation accuracy ended at {values[-1]:.3f}"
    if len(values) > 1:
        change = values[-1] - values[0]
        verb = "rose" if change > 0 else "fell"
        told = f"Validation accuracy {verb} from {values[0]:.3f} to {values[-1]:.3f}"
        if abs(change) < 0.0005:
            told = f"Validation accuracy stayed at {values[-1]:.3f}"
        if abs(change) < 0.0005 <= max(values) - min(values):
            told = f"Validation accuracy ended where it began, at {values[-1]:.3f}"
    if epoch is None:
        return [told + "."]
    by = "" if at_best(phase, "validation_precision_at_5") is None else " by Precision@5"
    return [f"{told}; epoch {epoch} was the best{by}."]


def _test(phase: Document) -> list[str]:
    named = {
        "accuracy": number(phase, "test", "accuracy"),
        "Precision@5": number(phase, "test", "precision"),
        "silhouette": number(phase, "test", "silhouette"),
        "same-work recall@1": number(phase, "test", "same_work", "recall_at_1"),
    }
    told = [f"{name} {figure(value)}" for name, value in named.items() if value is not None]
    return [f"On test works: {', '.join(told)}."] if told else []


def _verdict(phase: Document) -> list[str]:
    kept = phase.get("kept")
    return [] if kept is None else ["Its best epoch is kept." if kept else "Another phase is kept."]
