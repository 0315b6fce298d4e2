"""The rules one by one, the first experiment as an expert read it, and documents with holes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training import data_rules, rules
from training.diagnosis import SETTINGS, diagnose, find, summarise
from training.presets import load_preset

FIRST = json.loads((Path(__file__).parent / "first_experiment.json").read_text(encoding="utf-8"))


def epochs(*accuracies: float | None, **more: Any) -> list[dict[str, Any]]:
    """Records of epochs: validation accuracy, and Precision@5 equal to it."""
    return [
        {"epoch": n, "validation_accuracy": a, "validation_precision_at_5": a, **more}
        for n, a in enumerate(accuracies, start=1)
    ]


def phase(number: int, *accuracies: float | None, **more: Any) -> dict[str, Any]:
    known = [a for a in accuracies if a is not None]
    return {
        "phase": number,
        "trained_from": "head" if number == 1 else "stem",
        "backbone_layers_trained": 0 if number == 1 else 49,
        "stopped_early": True,
        "epochs": epochs(*accuracies),
        "best_epoch": accuracies.index(max(known)) + 1 if known else None,
        "kept": True,
        "train_accuracy": 0.8,
    } | more


def healthy() -> dict[str, Any]:
    """A run with nothing to mend; every field that a rule reads."""
    numbers = {"precision": 0.7, "chance": 0.1, "ceiling": 1.0, "silhouette": 0.3, "accuracy": 0.75}
    well = {
        "works": 1500,
        "effective_rank": 40.0,
        "norm_min": 1.0,
        "norm_of_mean": 0.3,
        "hubness_skewness": 0.8,
        "most_often_neighbour": 40,
        "share_never_neighbour": 0.01,
    }
    test = {
        **numbers,
        "same_work": {"recall_at_1": 0.97, "works": 500},
        "parts": {"style": {"silhouette_cosine": 0.3}},
    }
    return {
        "recipe": load_preset("recommended").as_dict(),
        "classes": [f"style {n}" for n in range(10)],
        "works": {"train": 6000, "validation": 600, "test": 1500, "unused": 0},
        "data": {
            "pictures": 8100,
            "enlarged": 0,
            "grey": 12,
            "unreadable": [],
            "copies": {"validation": 0, "test": 0},
            "by_class": {
                f"style {n}": {"train": 600, "validation": 60, "test": 150} for n in range(10)
            },
        },
        "untrained": {"precision": 0.4, "same_work": {"recall_at_1": 0.97, "works": 500}},
        "phases": [
            phase(1, 0.58, 0.62, 0.64, 0.635, test=copy.deepcopy(test), embedding=dict(well)),
            phase(2, 0.66, 0.69, 0.70, 0.695, test=copy.deepcopy(test), embedding=dict(well)),
            phase(3, 0.71, 0.73, 0.74, 0.735, test=copy.deepcopy(test), embedding=dict(well)),
        ],
        "kept_phase": 3,
        "seconds": 100.0,
    }


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with another value at a path: "phases.2.test.precision"."""
    *way, last = path.split(".")
    place: Any = document
    for key in way:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return document


def found_in(document: dict[str, Any]) -> list[tuple[str, str, int | None]]:
    return [(found.rule, found.severity, found.phase) for found in find(document)]


def test_of_the_first_experiment_the_rules_find_what_an_expert_found():
    assert sorted(found_in(FIRST), key=str) == sorted(
        [
            ("still_improving", "note", 1),
            ("unfreezing_decay", "problem", 2),
            ("stalled", "note", 3),
            ("precision", "good", None),
            ("low_silhouette", "problem", None),
            ("enlarged", "problem", None),
            ("test_size", "note", None),
        ],
        key=str,
    )
    told = {found.rule: found for found in find(FIRST)}
    assert told["still_improving"].text.startswith("A good start")
    assert "to 66.5 %" in told["still_improving"].text
    assert "more epochs" in told["still_improving"].next_step
    assert "fell from 62.0 % to 59.0 %" in told["unfreezing_decay"].text
    assert "all layers from number 50" in told["unfreezing_decay"].text
    assert "0.0001" in told["unfreezing_decay"].text
    assert "last 20 to 30 layers or block 7" in told["unfreezing_decay"].next_step
    assert "lower the rate" in told["unfreezing_decay"].next_step
    assert "5 to 10" in told["still_improving"].next_step
    assert "warm-up, then cosine decay" in told["stalled"].next_step
    assert "at 59.0 %" in told["stalled"].text
    assert "0.516, where chance gives 0.100" in told["precision"].text
    assert "256 or 512 dimensions" in told["low_silhouette"].next_step
    assert "BatchNormalization after pooling" in told["low_silhouette"].next_step
    assert "All pictures, 256 pixels, are enlarged to the input of 260" in told["enlarged"].text
    assert "unknown" in told["test_size"].text


def test_after_the_first_experiment_the_recommended_preset_is_proposed():
    proposed = diagnose(FIRST)["next_experiment"]
    assert proposed["preset"] == "recommended"
    assert "--preset recommended" in proposed["command"]
    assert proposed["settings"] == list(SETTINGS)
    preset = load_preset("recommended")  # what it does is what the words say
    assert preset.dimension in (256, 512)
    assert preset.batch_norm
    assert preset.size == 256
    assert preset.phases[1].unfreeze_from in range(-30, -19)
    assert "2e-4" in SETTINGS[2]
    assert preset.phases[1].learning_rate == 2e-4
    assert all(5 <= p.epochs <= 10 and p.patience for p in preset.phases)
    assert all("cosine" in p.schedule for p in preset.phases)


def test_the_phases_are_told_in_words():
    first, second, third = diagnose(FIRST)["summary"]
    assert first.startswith("Phase 1 trained the head alone for 3 epochs.")
    assert "fell from 0.620 to 0.590; epoch 1 was the best" in second
    assert "at a rate of 0.0001" in second
    assert "stayed at 0.590" in third
    assert "Precision@5 0.516, silhouette 0.109" in third
    assert summarise({}, {"phase": 2, "skipped": True}) == "Phase 2 was skipped."


def test_a_healthy_run_has_no_problems_and_nothing_to_mend():
    assert found_in(healthy()) == [("precision", "good", None)]
    proposed = diagnose(healthy())["next_experiment"]
    assert (proposed["preset"], proposed["settings"]) == (None, [])


def test_after_a_later_preset_the_next_experiment_is_what_its_findings_ask_for():
    document = put(healthy(), "data.grey", 4000)
    proposed = diagnose(document)["next_experiment"]
    assert proposed["preset"] == "recommended"
    assert proposed["settings"] == ["Look for reproductions in colour, or leave them out."]
    assert proposed["because"] == ["black_and_white"]


@pytest.mark.parametrize(
    ("rule", "path", "found", "silent"),
    [
        # A fall and a rise count beyond half the square root of 600 works' inverse, 0.0204.
        ("unfreezing_decay", "phases.1", phase(2, 0.7, 0.69, 0.679), phase(2, 0.7, 0.69, 0.681)),
        (
            "still_improving",
            "phases.0",
            phase(1, 0.6, 0.61, 0.621, stopped_early=False),
            phase(1, 0.6, 0.61, 0.619, stopped_early=False),
        ),
        ("stalled", "phases.2", phase(3, 0.696, 0.7, 0.705), phase(3, 0.694, 0.7, 0.705)),
        ("overfit", "phases.2.train_accuracy", 0.941, 0.939),
        ("collapse", "phases.2.embedding.norm_of_mean", 0.951, 0.949),
        ("collapse", "phases.2.embedding.effective_rank", 8.9, 9.0),
        ("hubness", "phases.2.embedding.hubness_skewness", 1.41, 1.4),
        ("low_silhouette", "phases.2.test.parts.style.silhouette_cosine", 0.249, 0.25),
        ("work_forgotten", "phases.2.test.same_work.recall_at_1", 0.949, 0.951),
        ("diverged", "diverged", "phase 3, epoch 2/5, step 7 gave nan", None),
    ],
)
def test_each_rule_on_both_sides_of_its_threshold(rule, path, found, silent):
    assert rule in {name for name, *_ in found_in(put(healthy(), path, found))}
    assert rule not in {name for name, *_ in found_in(put(healthy(), path, silent))}


@pytest.mark.parametrize(
    ("value", "severity"), [(0.28, "problem"), (0.29, None), (0.45, None), (0.47, "good")]
)
def test_precision_is_low_and_good_by_its_share_of_the_way_from_chance(value, severity):
    """Chance is 0.1, a perfect order 1: a fifth of the way is 0.28, two fifths 0.46."""
    document = put(put(healthy(), "untrained.precision", 0.2), "phases.2.test.precision", value)
    told = [severity for rule, severity, _ in found_in(document) if rule == "precision"]
    assert told == ([severity] if severity else [])


def test_rules_of_one_phase_do_not_contradict_each_other():
    """Four works to validate on: up from one to two is still below the four it began with."""
    document = put(healthy(), "works.validation", 4)
    put(document, "phases.0", phase(1, 1.0, 1.0))
    put(document, "phases.1", phase(2, 0.25, 0.25, 0.5, stopped_early=False))
    names = {name for name, _, number in found_in(document) if number == 2}
    assert "unfreezing_decay" in names
    assert "still_improving" not in names
    document = put(healthy(), "phases.2", phase(3, 1.0, 1.0, 1.0))
    put(document, "phases.1", phase(2, 1.0, 1.0))
    assert "stalled" not in {name for name, *_ in found_in(document)}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        # Unfreezing: falls within the phase; never comes back to where it began.
        ("phases.1", phase(2, 0.70, 0.69, 0.67), ("unfreezing_decay", "problem", 2)),
        (
            "phases.2",
            phase(3, 0.31, 0.33, 0.35, train_accuracy=0.36),
            ("unfreezing_decay", "problem", 3),
        ),
        ("phases.0", phase(1, 0.5, 0.6, 0.65, stopped_early=False), ("still_improving", "note", 1)),
        ("phases.2", phase(3, 0.698, 0.7, 0.702), ("stalled", "note", 3)),
        ("phases.2.train_accuracy", 0.95, ("overfit", "problem", 3)),
        ("phases.2.embedding.effective_rank", 4.0, ("collapse", "problem", 3)),
        ("phases.0.embedding.norm_of_mean", 0.98, ("collapse", "problem", 1)),
        ("phases.2.embedding.norm_min", 0.0, ("collapse", "problem", 3)),
        ("phases.2.embedding.hubness_skewness", 2.5, ("hubness", "note", None)),
        ("phases.2.test.parts.style.silhouette_cosine", 0.1, ("low_silhouette", "problem", None)),
        ("phases.2.test.same_work.recall_at_1", 0.5, ("work_forgotten", "problem", 3)),
        ("untrained.same_work.recall_at_1", 0.999, ("work_forgotten", "problem", 3)),
        ("phases.2.test.precision", 0.35, ("precision", "problem", None)),
        ("phases.2.test.chance", 0.65, ("precision", "problem", None)),
        ("data.enlarged", 4974, ("enlarged", "problem", None)),
        ("data.by_class.style 3.test", 40, ("test_size", "problem", None)),
        ("data.by_class.style 3.train", 100, ("class_imbalance", "problem", None)),
        ("data.grey", 1000, ("black_and_white", "problem", None)),
        ("data.copies.test", 3, ("copies", "note", None)),
        (
            "data.unreadable",
            [{"name": "a.jpg", "reason": "image-corrupt"}],
            ("unreadable", "problem", None),
        ),
    ],
)
def test_each_rule_finds_its_own(path, value, expected):
    document = put(healthy(), path, value)
    if path == "untrained.same_work.recall_at_1":
        assert expected in found_in(document)
        return
    found = found_in(document)
    assert [one for one in found if one[1] != "good"] == [expected]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("phases.1", phase(2, 0.66, 0.69, 0.70, 0.685)),  # EarlyStopping waits for worse ones
        ("phases.0", phase(1, 0.5, 0.6, 0.65)),  # stopped early
        ("phases.0", phase(1, 0.64, 0.641, 0.642, stopped_early=False)),  # hardly rising
        ("phases.2.train_accuracy", 0.9),
        ("phases.2.embedding.effective_rank", 9.1),
        ("phases.2.test.same_work.recall_at_1", 0.955),
        ("phases.2.test.same_work", None),
        ("phases.2.embedding.works", 99),
        ("data.enlarged", 80),
        ("data.by_class.style 3.test", 100),
        ("data.by_class.style 3.train", 201),
        ("data.grey", 400),
    ],
)
def test_each_rule_is_silent_on_its_other_side(path, value):
    document = put(healthy(), path, value)
    if path == "phases.2.embedding.works":
        put(document, "phases.2.embedding.hubness_skewness", 2.5)
    assert [one for one in found_in(document) if one[1] != "good"] == []


def test_few_validation_works_leave_more_to_chance():
    document = put(healthy(), "phases.1", phase(2, 0.70, 0.69, 0.67))
    document = put(document, "works.validation", 60)  # a work is 1.7 points
    assert "unfreezing_decay" not in {found.rule for found in find(document)}


def test_overfitting_is_seen_in_the_losses_where_no_accuracy_of_training_is_known():
    document = put(healthy(), "phases.2.train_accuracy", None)
    for n, (own, other) in enumerate([(1.0, 1.1), (0.5, 1.0), (0.2, 1.2), (0.1, 1.4)]):
        put(document, f"phases.2.epochs.{n}.loss", own)
        put(document, f"phases.2.epochs.{n}.validation_loss", other)
    assert ("overfit", "problem", 3) in found_in(document)
    put(document, "phases.2.epochs.3.validation_loss", 1.1)
    assert ("overfit", "problem", 3) not in found_in(document)


def test_the_work_forgotten_names_what_it_fell_below():
    document = put(healthy(), "phases.0.test.same_work.recall_at_1", 0.6)
    first, *_ = [found for found in find(document) if found.rule == "work_forgotten"]
    assert first.phase == 1
    assert first.text.count("untrained") == 1
    assert "phase before" not in first.text


def test_what_a_recipe_has_it_is_not_told_to_take():
    """A work part and a margin are asked for where there is none, and no more where there is."""
    document = put(healthy(), "phases.2.test.same_work.recall_at_1", 0.5)
    put(document, "phases.2.test.silhouette", 0.05)
    document["phases"][2]["test"].pop("parts", None)
    document["recipe"] |= {"work": None, "margin": None}
    told = {found.rule: found.next_step for found in find(document)}
    assert "a work part" in told["work_forgotten"]
    assert "a loss with a margin" in told["low_silhouette"]
    document["recipe"] |= {"work": {"dimension": 256}, "margin": {"margin": 0.9, "scale": 16}}
    told = {found.rule: found.next_step for found in find(document)}
    assert "Train the work part for longer" in told["work_forgotten"]
    assert "more pictures" in told["low_silhouette"]


def test_what_a_phase_does_already_is_no_advice():
    document = put(healthy(), "phases.1", phase(2, 0.7, 0.69, 0.6, backbone_layers_trained=14))
    document = put(document, "phases.2.embedding.norm_of_mean", 0.98)
    told = {found.rule: found.next_step for found in find(document)}
    assert told["unfreezing_decay"] == "Lower the rate, to a half or less."
    assert told["collapse"] == "Lower the rate."  # the preset has BatchNormalization
    rising = [0.6 + 0.02 * n for n in range(12)]
    document = put(healthy(), "phases.0", phase(1, *rising, stopped_early=False))
    document = put(document, "phases.2", phase(3, 0.818, 0.82, 0.822))
    told = {found.rule: found.next_step for found in find(document)}
    assert "more than 12" in told["still_improving"]
    assert "warm-up" not in told["stalled"]  # the preset has it


def test_fewer_layers_are_advised_only_where_layers_were_trained_and_more_made_it_worse():
    def told(document, number):
        return {f.rule: f.next_step for f in find(document) if f.phase == number}

    document = put(healthy(), "phases.0.test.same_work.recall_at_1", 0.5)
    put(document, "phases.0.train_accuracy", 0.99)
    for rule in ("work_forgotten", "overfit"):  # phase 1 trained the head alone
        assert "fewer layers" not in told(document, 1)[rule]
    document = put(healthy(), "phases.1.test.same_work.recall_at_1", 0.5)
    put(document, "phases.1.train_accuracy", 0.99)
    for rule in ("work_forgotten", "overfit"):
        assert "fewer layers" in told(document, 2)[rule]
    document = put(document, "phases.2.test.same_work.recall_at_1", 0.6)  # more than phase 2's
    assert "fewer layers" not in told(document, 3)["work_forgotten"]


def test_a_fall_from_the_highest_epoch_counts_when_it_is_twice_as_deep():
    """600 validation works: an accuracy moves by 2.04 points."""
    for last, falls in ((0.695, True), (0.70, False)):
        document = put(healthy(), "phases.1", phase(2, 0.69, 0.74, last))
        told = [found.text for found in find(document) if found.rule == "unfreezing_decay"]
        assert bool(told) is falls
    document = put(healthy(), "phases.1", phase(2, 0.69, 0.74, 0.695))
    (text,) = [found.text for found in find(document) if found.rule == "unfreezing_decay"]
    assert "fell from 74.0 % to 69.5 %" in text


def test_what_few_works_cannot_tell_is_not_told():
    document = put(healthy(), "phases.2.embedding.effective_rank", 8.0)
    assert ("collapse", "problem", 3) in found_in(document)
    document = put(document, "phases.2.embedding.works", 49)  # of ten classes
    assert ("collapse", "problem", 3) not in found_in(document)
    document = put(healthy(), "phases.2.test.same_work.recall_at_1", 0.93)
    assert ("work_forgotten", "problem", 3) in found_in(document)
    document = put(document, "phases.2.test.same_work.interval", [0.85, 1.0])
    assert ("work_forgotten", "problem", 3) not in found_in(document)
    document = put(healthy(), "data.by_class.style 3.test", 0)
    (text,) = [found.text for found in find(document) if found.rule == "test_size"]
    assert "points off" not in text
    document = put(healthy(), "phases.0", phase(1, None, 0.7, stopped_early=False, best_epoch=None))
    assert "still_improving" not in {found.rule for found in find(document)}


def test_a_phase_says_by_what_its_best_epoch_was_chosen():
    document = put(healthy(), "phases.1.epochs", epochs(0.66, 0.7, 0.66))
    assert "ended where it began, at 0.660; epoch 3 was the best by Precision@5." in summarise(
        document, document["phases"][1]
    )


def test_a_work_learnt_again_is_a_note():
    document = put(healthy(), "phases.0.test.same_work.recall_at_1", 0.6)
    assert ("work_forgotten", "note", 1) in found_in(document)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*way, key)
        if isinstance(item, dict | list):
            yield from places(item, (*way, key))


@pytest.mark.parametrize(
    "wrong", [None, "text", -1, 10**400, float("nan"), [], {}, True, [None], "missing"]
)
def test_no_hole_in_a_document_stops_the_diagnosis(wrong):
    for way in places(healthy()):
        document: Any = healthy()
        place = document
        for key in way[:-1]:
            place = place[key]
        if wrong == "missing" and isinstance(place, dict):
            del place[way[-1]]
        else:
            place[way[-1]] = wrong
        told = diagnose(document)
        json.dumps(told)
        assert all(isinstance(text, str) and text for text in told["summary"])


def test_of_an_empty_document_only_the_unknown_test_size_is_said():
    assert [found.rule for found in find({})] == ["test_size"]
    assert diagnose({})["summary"] == []


def test_every_rule_is_in_the_table():
    written = {
        function
        for module in (rules, data_rules)
        for function in vars(module).values()
        if getattr(function, "__annotations__", {}).get("return") == "Finding | None"
    }
    assert written == {*rules.PHASE_RULES, *rules.RULES, *data_rules.DATA_RULES}
    assert len(written) == 16
