"""Reading a report document of which any field may be missing, null or of another type.

Reports are read again years later, and those of other programs too: what is not there is None and
whoever asks says nothing, or says that it is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]


def field(document: Any, *path: str) -> Any:
    """What stands under a path of keys, or None."""
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def number(document: Any, *path: str) -> float | None:
    """A finite number, or None."""
    value = field(document, *path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON's integers have no end
        return None
    return found if math.isfinite(found) else None


def count(document: Any, *path: str) -> int | None:
    """A number of things, or None."""
    value = number(document, *path)
    return None if value is None or value < 0 else int(value)


def word(document: Any, *path: str) -> str | None:
    """A text, or None."""
    value = field(document, *path)
    return value if isinstance(value, str) else None


def items(document: Any, *path: str) -> list[Any]:
    """A list, or an empty one."""
    value = field(document, *path)
    return list(value) if isinstance(value, list | tuple) else []


def counts_by_class(document: Any, part: str) -> dict[str, int]:
    """Works of a part ("train", "validation", "test") by class, of the classes that are known."""
    by_class = field(document, "data", "by_class")
    if not isinstance(by_class, Mapping):
        return {}
    found = {str(label): count(counts, part) for label, counts in by_class.items()}
    return {label: works for label, works in found.items() if works is not None}


def class_count(document: Document) -> int | None:
    """How many classes there are, or None."""
    return len(items(document, "classes")) or None


def phases(document: Document) -> list[dict[str, Any]]:
    """The phases that were trained, in order."""
    found = [phase for phase in items(document, "phases") if isinstance(phase, dict)]
    return [phase for phase in found if not phase.get("skipped")]


def phases_before(document: Document, phase: Document) -> list[dict[str, Any]]:
    """The trained phases before one."""
    found = phases(document)
    return found[: next((i for i, other in enumerate(found) if other is phase), 0)]


def plan(document: Document, phase: Document) -> Document:
    """What the recipe says of a phase, or nothing."""
    planned = items(document, "recipe", "phases")
    place = (count(phase, "phase") or 0) - 1
    found = planned[place] if 0 <= place < len(planned) else None
    return found if isinstance(found, Mapping) else {}


def final(document: Document) -> Document | None:
    """The phase whose model is used: the kept one, or the last one with test numbers."""
    tested = [phase for phase in phases(document) if isinstance(phase.get("test"), Mapping)]
    kept = [phase for phase in tested if phase.get("phase") == field(document, "kept_phase")]
    found = kept or tested
    return found[-1] if found else None


def curve(phase: Document, name: str = "validation_accuracy") -> list[float | None]:
    """A measurement of each epoch."""
    return [number(epoch, name) for epoch in items(phase, "epochs")]


def last(values: list[float]) -> float | None:
    """The last one, or None of none."""
    return values[-1] if values else None


def known(values: list[float | None]) -> list[float]:
    """Those that are known."""
    return [value for value in values if value is not None]


def best_epoch(phase: Document) -> int | None:
    """The phase's best epoch, from 1: the recorded one, or the first of the highest accuracy."""
    recorded = count(phase, "best_epoch")
    values = curve(phase)
    if recorded is not None and 1 <= recorded <= len(values):
        return recorded
    found = known(values)
    return values.index(max(found)) + 1 if found else None


def at_best(phase: Document, name: str = "validation_accuracy") -> float | None:
    """A measurement of the phase's best epoch."""
    epoch = best_epoch(phase)
    return None if epoch is None else curve(phase, name)[epoch - 1]


def starting_point(document: Document, phase: Document) -> Document | None:
    """The phase whose weights a phase went on from: of those before, the one with the highest
    Precision@5 on validation works as artkin does it, else the last."""
    before = phases_before(document, phase)
    ranked = [(at_best(other, "validation_precision_at_5"), other) for other in before]
    measured = [(value, other) for value, other in ranked if value is not None]
    if measured:
        return max(measured, key=lambda pair: pair[0])[1]
    return before[-1] if before else None


def is_backbone_trained(document: Document, phase: Document) -> bool:
    """Whether the phase trains any of the backbone, as far as is known."""
    layers = count(phase, "backbone_layers_trained")
    if layers is not None:
        return layers > 0
    origin = word(phase, "trained_from")
    if origin is not None:
        return origin != "head"
    return plan(document, phase).get("unfreeze_from") is not None


def layers_in_words(document: Document, phase: Document) -> str:
    """What a phase trains."""
    if not is_backbone_trained(document, phase):
        told = "trained_from" in phase or "unfreeze_from" in plan(document, phase)
        return "the head alone" if told else "unknown layers"
    origin, planned = word(phase, "trained_from"), plan(document, phase).get("unfreeze_from")
    layers = count(phase, "backbone_layers_trained")
    if origin == "stem" or planned == 0:
        return "the whole network"
    if origin is None and isinstance(planned, int):
        if planned < 0:
            return f"the last {-planned} layers" if planned < -1 else "the last layer"
        return f"all layers from number {planned}"
    of = f" ({layers} layers)" if layers is not None else ""
    return f"the backbone from {origin or planned or 'an unknown layer'} on{of}"
