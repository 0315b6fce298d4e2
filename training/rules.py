"""What went wrong or well in a run's phases and in the embedding it ended with.

Each rule is a function of the report document to a finding, or None where all is well or the
document does not say enough. Rules over the collection are in `data_rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Literal

from training.document import (
    Document,
    at_best,
    best_epoch,
    class_count,
    count,
    curve,
    field,
    final,
    is_backbone_trained,
    items,
    known,
    last,
    layers_in_words,
    number,
    phases_before,
    plan,
    starting_point,
    word,
)

# A fall of two points is more than the standard error of an accuracy on 500 works (2.2 points for
# 50 %) leaves to chance when the same works are asked; of fewer works see `_noise`.
FALL = 0.02
# An epoch or a phase that moves less than a point is taken to have stopped moving.
FLAT = 0.01
# Fine-tuned networks of this size usually know 5 to 15 points more of what they were trained on;
# beyond 20 the head learns pictures by heart.
OVERFIT_GAP = 0.20
# Without a training accuracy: a validation loss a fifth above its lowest while training's falls.
OVERFIT_LOSS = 1.2
# The mean cosine of two works is the square of this, 0.9: nearly all vectors point one way.
ONE_DIRECTION = 0.95
# Skewness of how often each work is a neighbour: above 1.4 a data set counts as one with hubs
# (Feldbauer & Flexer, Knowl. Inf. Syst. 59 (2019) 137-166). Of fewer works it is noise.
HUBS, HUBS_WORKS = 1.4, 100
# Below 0.25 no substantial structure (Kaufman & Rousseeuw, Finding Groups in Data, 1990, p. 88).
LOW_SILHOUETTE = 0.25
# Same-work recall: the 95 % interval of 0.95 over 200 works that ask in eight ways each is within 2
# points either way; where it is wider, as of few works, a fall must be as wide.
FORGOTTEN = 0.02
# Share of the way from chance to a perfect order, which is how Cohen's kappa corrects for chance:
# above 0.4 agreement is "moderate" or better, up to 0.2 "slight" (Landis & Koch, Biometrics 33
# (1977) 159-174).
GOOD_PRECISION, SLIGHT_PRECISION = 0.4, 0.2
# Layers with weights that fine-tuning in a first phase of the backbone should touch; an epoch count
# from which "5 to 10" is no advice.
FEW_LAYERS, MANY_EPOCHS = 30, 10
# With fewer test works a class the rank is bounded by the works rather than by the embedding.
RANK_WORKS = 5
# What is recommended of the embedding's length.
DIMENSION = 256

Severity = Literal["problem", "note", "good"]


@dataclass(frozen=True)
class Finding:
    """One thing a rule has found.

    Args:
        rule: the rule's name.
        severity: "problem", to be mended; "note", to be known; "good".
        phase: of the run, or None where it is about the whole.
        text: what was found.
        numbers: that it was found from.
        next_step: what to do about it, or "".
    """

    rule: str
    severity: Severity
    phase: int | None
    text: str
    numbers: dict[str, float | None]
    next_step: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


Rule = Callable[[Document], Finding | None]
PhaseRule = Callable[[Document, Document], Finding | None]


def unfreezing_decay(document: Document, phase: Document) -> Finding | None:
    """Accuracy falls while layers of the backbone are trained, or never comes back to where the
    phase began."""
    values = known(curve(phase))
    if not values or not is_backbone_trained(document, phase):
        return None
    margin = _noise(document, FALL)
    origin = starting_point(document, phase)
    start = at_best(origin) if origin else None
    # The highest of several is high by chance, so a fall from it counts when it is twice as deep.
    falls = values[-1] <= max(values[0] - margin, max(values) - 2 * margin)
    lost = start is not None and max(values) <= start - margin and _is_kept_track_of(phase)
    if not falls and not lost:
        return None
    rate = number(plan(document, phase), "learning_rate")
    how = f"fell from {_percent(max(values))} to {_percent(values[-1])}"
    if not falls:
        how = f"never came back to the {_percent(start)} that it began with"
    at = f" at a rate of {rate:g}" if rate is not None else ""
    step = (
        "Unfreeze the last 20 to 30 layers or block 7 only, and lower the rate if it falls again."
    )
    if (count(phase, "backbone_layers_trained") or FEW_LAYERS + 1) <= FEW_LAYERS:
        step = "Lower the rate, to a half or less."
    return Finding(
        "unfreezing_decay",
        "problem",
        count(phase, "phase"),
        f"Validation accuracy {how} while {layers_in_words(document, phase)} trained{at}: the rate "
        "is too high for that many layers, and features of ImageNet are overwritten.",
        {
            "first": values[0],
            "highest": max(values),
            "last": values[-1],
            "start": start,
            "learning_rate": rate,
        },
        step,
    )


def still_improving(document: Document, phase: Document) -> Finding | None:
    """The phase ended while it was still gaining."""
    values = curve(phase)
    if not values or phase.get("stopped_early") is True or best_epoch(phase) != len(values):
        return None
    ended, earlier = values[-1], known(values[-3:-1])
    if ended is None or len(values) < 2:
        return None
    if not earlier and count(phase, "best_epoch") is None:  # nobody says that it rose
        return None
    # Two epochs back: one step alone is mostly noise.
    if earlier and ended - earlier[0] < _noise(document, FLAT):
        return None
    if unfreezing_decay(document, phase):  # it only comes back from what it lost
        return None
    return Finding(
        "still_improving",
        "note",
        count(phase, "phase"),
        ("" if phases_before(document, phase) else "A good start. ")
        + f"Validation accuracy was still rising in the last of {len(values)} epochs, to "
        f"{_percent(ended)}.",
        {"last": ended, "before": earlier[0] if earlier else None, "epochs": float(len(values))},
        "Give the phase more epochs, "
        + ("5 to 10" if len(values) < MANY_EPOCHS else f"more than {len(values)}")
        + " with EarlyStopping.",
    )


def stalled(document: Document, phase: Document) -> Finding | None:
    """A later phase that is stable but gains nothing over what it began with."""
    origin = starting_point(document, phase)
    values = known(curve(phase))
    if origin is None or len(values) < 2 or max(values) - min(values) > FLAT:
        return None
    if max(values) >= 1 - FLAT:  # there is nothing to gain
        return None
    # What a phase begins with is the best epoch before it; where nothing says so, the last.
    start = at_best(origin) if _is_kept_track_of(phase) else last(known(curve(origin)))
    gained = _gain(max(values), start)
    found = _gain(
        at_best(phase, "validation_precision_at_5"), at_best(origin, "validation_precision_at_5")
    )
    if gained is None or gained > FLAT or (found is not None and found > FLAT):
        return None
    if unfreezing_decay(document, phase):
        return None
    planned = plan(document, phase)
    rate = number(planned, "learning_rate")
    step = "Leave it out, or give it another rate or other layers."
    if planned.get("schedule") != "warmup_cosine":
        step = (
            "Change the rate over the phase (warm-up, then cosine decay) and start it from a phase "
            "that has not lost anything."
        )
    return Finding(
        "stalled",
        "note",
        count(phase, "phase"),
        f"Stable but stalled: validation accuracy stayed at {_percent(values[-1])} and gained "
        "nothing over the phase before.",
        {"first": values[0], "last": values[-1], "start": start, "learning_rate": rate},
        step,
    )


def overfit(document: Document, phase: Document) -> Finding | None:
    """The model knows its training pictures far better than others."""
    trained, validated = number(phase, "train_accuracy"), at_best(phase)
    if trained is not None and validated is not None:
        if trained - validated < OVERFIT_GAP:
            return None
        text = f"Accuracy is {_percent(trained)} on training works, {_percent(validated)} on others"
        numbers = {"train_accuracy": trained, "validation_accuracy": validated}
    else:
        losses = known(curve(phase, "validation_loss"))
        own = known(curve(phase, "loss"))
        if len(losses) < 2 or len(own) < 2 or losses[-1] < OVERFIT_LOSS * min(losses):
            return None
        if own[-1] >= own[0]:
            return None
        text = f"The validation loss rose from {min(losses):.2f} to {losses[-1]:.2f} as training's "
        text += "fell"
        numbers = {"lowest_validation_loss": min(losses), "last_validation_loss": losses[-1]}
    return Finding(
        "overfit",
        "problem",
        count(phase, "phase"),
        f"{text}: pictures are learnt by heart.",
        {**numbers},
        "More pictures, more views of each (crops, mirroring), more dropout"
        + (", or fewer layers." if is_backbone_trained(document, phase) else "."),
    )


def collapse(document: Document, phase: Document) -> Finding | None:
    """Vectors use fewer directions than telling the classes apart takes, or all point one way."""
    rank = number(phase, "embedding", "effective_rank")
    mean = number(phase, "embedding", "norm_of_mean")
    smallest = number(phase, "embedding", "norm_min")
    classes = class_count(document)
    # c classes that are told apart as well as possible span c - 1 directions (Papyan, Han &
    # Donoho, PNAS 117 (2020) 24652-24663).
    works = count(phase, "embedding", "works")
    enough = works is None or works >= RANK_WORKS * (classes or 0)
    thin = rank is not None and classes is not None and classes > 2 and rank < classes - 1
    thin = thin and enough
    if not thin and (mean is None or mean < ONE_DIRECTION) and (smallest is None or smallest > 0):
        return None
    told = [f"an effective rank of {rank:.1f}"] if rank is not None else []
    told += [f"a mean of norm {mean:.2f}"] if mean is not None else []
    told += ["vectors of norm 0"] if smallest == 0 else []
    return Finding(
        "collapse",
        "problem",
        count(phase, "phase"),
        f"The embedding collapses: the test works' vectors have {' and '.join(told)}"
        + (f" for {classes} classes." if classes else "."),
        {"effective_rank": rank, "norm_of_mean": mean, "norm_min": smallest},
        "Lower the rate."
        if field(document, "recipe", "batch_norm") is True
        else "Lower the rate and put BatchNormalization after pooling.",
    )


def work_forgotten(document: Document, phase: Document) -> Finding | None:
    """A picture that was altered finds its own work less often than before."""
    now = number(phase, "test", "same_work", "recall_at_1")
    if now is None:
        return None
    untrained = number(document, "untrained", "same_work", "recall_at_1")
    recalls = [
        number(other, "test", "same_work", "recall_at_1")
        for other in phases_before(document, phase)
    ]
    before = last(known(recalls))
    interval = items(phase, "test", "same_work", "interval")
    ends = known([number({"end": end}, "end") for end in interval])
    margin = max(FORGOTTEN, (max(ends) - min(ends)) / 2 if ends else 0.0)
    told = [
        f"{name} had {_percent(value)}"
        for name, value in {"the phase before": before, "the untrained features": untrained}.items()
        if value is not None and now <= value - margin
    ]
    if not told:
        return None
    step = "Give the embedding a work part that is kept from fading"
    if isinstance(field(document, "recipe", "work"), Mapping):
        step = "Train the work part for longer or with more of the loss"
    # Where more layers found more works again, fewer are no remedy.
    fell = before is None or now < before
    step += ", or train fewer layers." if fell and is_backbone_trained(document, phase) else "."
    return Finding(
        "work_forgotten",
        # What a later phase has learnt again is no problem of the model.
        "problem" if count(phase, "phase") == count(final(document), "phase") else "note",
        count(phase, "phase"),
        f"The work is forgotten: same-work recall@1 is {_percent(now)}, {' and '.join(told)}.",
        {"recall_at_1": now, "before": before, "untrained": untrained},
        step,
    )


def low_silhouette(document: Document) -> Finding | None:
    """Classes hardly stand apart."""
    phase = final(document)
    styled = number(phase, "test", "parts", "style", "silhouette_cosine")
    whole = number(phase, "test", "silhouette")
    value = whole if styled is None else styled
    if value is None or value >= LOW_SILHOUETTE:
        return None
    dimension = count(document, "recipe", "dimension")
    advice = []
    if dimension is None or dimension < DIMENSION:
        advice.append("an embedding of 256 or 512 dimensions")
    if field(document, "recipe", "batch_norm") is not True:
        advice.append("BatchNormalization after pooling")
    if not advice and isinstance(field(document, "recipe", "margin"), Mapping):
        advice.append("more pictures of each class")
    return Finding(
        "low_silhouette",
        "problem",
        None,
        f"The silhouette of the test works is low, {value:.3f}"
        f"{'' if styled is None else ' (style part, cosine)'}: classes overlap.",
        {"silhouette": value},
        ("Take " + " and ".join(advice or ["a loss with a margin, or longer phases"]) + "."),
    )


def hubness(document: Document) -> Finding | None:
    """A few works are neighbours of very many others."""
    phase = final(document)
    skewness = number(phase, "embedding", "hubness_skewness")
    works = count(phase, "embedding", "works")
    if skewness is None or skewness <= HUBS or works is None or works < HUBS_WORKS:
        return None
    most = count(phase, "embedding", "most_often_neighbour")
    never = number(phase, "embedding", "share_never_neighbour")
    told = f"; one of them is among the nearest ten of {most} others" if most is not None else ""
    return Finding(
        "hubness",
        "note",
        None,
        f"The embedding has hubs: a few works are found by very many others{told}.",
        {"skewness": skewness, "most": most, "never": never},
        "Look whether the works found so often are of one kind; centring the vectors takes hubs "
        "away.",
    )


def diverged(document: Document) -> Finding | None:
    """The loss was no number any more, and the run ended before its recipe did."""
    told = word(document, "diverged")
    if not told:
        return None
    text = f"The run ended before its recipe did: {told}."
    step = "Lower that phase's rate, to a tenth or less; what was best before is kept."
    return Finding("diverged", "problem", None, text, {}, step)


def precision(document: Document) -> Finding | None:
    """Precision@5 of the final model against chance and against the untrained features."""
    phase = final(document)
    value = number(phase, "test", "precision")
    if value is None:
        return None
    classes = class_count(document)
    chance = number(phase, "test", "chance")
    if chance is None and classes:
        chance = 1 / classes
    ceiling = number(phase, "test", "ceiling") or 1.0
    untrained = number(document, "untrained", "precision")
    numbers = {"precision_at_5": value, "chance": chance, "untrained": untrained}
    if untrained is not None and value <= untrained:
        return Finding(
            "precision",
            "problem",
            None,
            f"Precision@5 is {value:.3f}, no better than the untrained features' {untrained:.3f}.",
            numbers,
            "Look at the classes: are they told apart by what pictures look like?",
        )
    if chance is None or not chance < ceiling:
        return None
    share = (value - chance) / (ceiling - chance)
    if SLIGHT_PRECISION < share < GOOD_PRECISION:
        return None
    of = f" for {classes} classes" if classes else ""
    if share >= GOOD_PRECISION:
        text = f"Precision@5 is good{of}: {value:.3f}, where chance gives {chance:.3f}."
        return Finding("precision", "good", None, text, numbers)
    return Finding(
        "precision",
        "problem",
        None,
        f"Precision@5 is low{of}: {value:.3f}, where chance gives {chance:.3f}.",
        numbers,
        "Look at the errors below: classes may overlap, or the pictures be too few.",
    )


PHASE_RULES: tuple[PhaseRule, ...] = (
    still_improving,
    unfreezing_decay,
    stalled,
    overfit,
    collapse,
    work_forgotten,
)
RULES: tuple[Rule, ...] = (diverged, precision, low_silhouette, hubness)


def _noise(document: Document, least: float) -> float:
    """How far an accuracy must move to count: its standard error, 0.5 / sqrt(works) at most."""
    works = count(document, "works", "validation")
    return max(least, 0.5 / sqrt(works)) if works else least


def _is_kept_track_of(phase: Document) -> bool:
    """Whether the run went on from best epochs, as artkin's do, and not from last ones."""
    return any(value is not None for value in curve(phase, "validation_precision_at_5"))


def _gain(value: float | None, before: float | None) -> float | None:
    return None if value is None or before is None else value - before


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"
