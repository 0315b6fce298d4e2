"""What a collection does to a run's numbers: rules over the report document, as in `rules.py`."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from training.document import (
    Document,
    class_count,
    count,
    counts_by_class,
    items,
    number,
    word,
)
from training.rules import Finding, Rule

# Of so few pictures nothing is decided; above, the mean is no longer the collection's own.
SHARE = 0.05
# The 95 % interval of a class's accuracy is 10 points either way with 100 works, 7 with 200.
TEST_WORKS = 100
# A class with three times the pictures of another decides three times as much of the loss.
IMBALANCE = 3.0
_NAMED = 3


def enlarged(document: Document) -> Finding | None:
    """Pictures smaller than the model's input are enlarged, which adds pixels and no detail."""
    size = count(document, "recipe", "size")
    pictures, small = count(document, "data", "pictures"), count(document, "data", "enlarged")
    side = count(document, "data", "side")  # where all pictures have the same
    share = small / pictures if pictures and small is not None else None
    if share is None and side is not None and size is not None:
        share = float(side < size)
    if share is None or share < SHARE:
        return None
    which = "All pictures" if share == 1 else f"{100 * share:.0f} % of the pictures"
    of = f", {side} pixels," if side is not None else ""
    to = f" of {size} pixels" if size is not None else ""
    return Finding(
        "enlarged",
        "problem",
        None,
        f"{which}{of} are enlarged to the input{to}: interpolation adds cost and no detail.",
        {"share": share, "size": size, "side": side},
        "Take an input no larger than the pictures (--size), 256 x 256 for pictures of 256 pixels.",
    )


def few_test_works(document: Document) -> Finding | None:
    """Too few test works to believe the numbers, or nobody knows how many."""
    by_class = counts_by_class(document, "test")
    works, classes = count(document, "works", "test"), class_count(document)
    if by_class:
        least, name = min((size, label) for label, size in by_class.items())
        told = f"{least} in {name}"
    elif works is not None and classes:
        least, told = works // classes, f"{works} in {classes} classes"
    else:
        return Finding(
            "test_size",
            "note",
            None,
            "How many works were tested on is unknown, and so how far the numbers can be trusted.",
            {"test_works": works},
            "Check the size of the test set: 100 to 200 works a class.",
        )
    if least >= TEST_WORKS:
        return None
    off = "nothing is known of such a class"
    if least:
        off = f"with {least} works a class's accuracy may be {_interval(least):.0f} points off"
    return Finding(
        "test_size",
        "problem",
        None,
        f"The test set is small ({told}): {off}.",
        {"test_works": works, "smallest_class": least},
        "Test on 100 to 200 works a class.",
    )


def class_imbalance(document: Document) -> Finding | None:
    """Some classes have many times the training works of others."""
    sizes = counts_by_class(document, "train")
    if len(sizes) < 2:
        return None
    least, small = min((size, label) for label, size in sizes.items())
    most, large = max((size, label) for label, size in sizes.items())
    if most < IMBALANCE * max(least, 1):
        return None
    return Finding(
        "class_imbalance",
        "problem",
        None,
        f"Classes are of unequal size: {most} training works in {large}, {least} in {small}.",
        {"largest": most, "smallest": least},
        f"Add works to {small} and classes like it, or merge them with others.",
    )


def black_and_white(document: Document) -> Finding | None:
    """Pictures without colour, which tell their class by that alone."""
    pictures, grey = count(document, "data", "pictures"), count(document, "data", "grey")
    if not pictures or grey is None or grey / pictures < SHARE:
        return None
    return Finding(
        "black_and_white",
        "problem",
        None,
        f"{grey} of {pictures} pictures are black and white: colour says nothing of them, and a "
        "class that has many is told by their lack of it.",
        {"grey": grey, "pictures": pictures},
        "Look for reproductions in colour, or leave them out.",
    )


def copies(document: Document) -> Finding | None:
    """The same or nearly the same picture on both sides of the split."""
    parts = {part: count(document, "data", "copies", part) for part in ("validation", "test")}
    found = {part: number for part, number in parts.items() if number}
    if not found:
        return None
    told = " and ".join(f"{number} of {part}" for part, number in found.items())
    return Finding(
        "copies",
        "note",
        None,
        f"Pictures that are in another part too, the same or nearly: {told}. They were set aside "
        "and flatter no number.",
        {**parts},
        "Remove the copies from the collection.",
    )


def unreadable(document: Document) -> Finding | None:
    """Files that could not be used."""
    files = [file for file in items(document, "data", "unreadable") if isinstance(file, Mapping)]
    if not files:
        return None
    named = [f"{word(f, 'name') or '?'} ({word(f, 'reason') or 'unknown'})" for f in files]
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return Finding(
        "unreadable",
        "problem",
        None,
        f"{len(files)} pictures could not be read: {', '.join(named[:_NAMED])}{more}.",
        {"unreadable": len(files), "pictures": number(document, "data", "pictures")},
        "Replace these files or take them out.",
    )


DATA_RULES: tuple[Rule, ...] = (
    enlarged,
    few_test_works,
    class_imbalance,
    black_and_white,
    copies,
    unreadable,
)


def _interval(works: int) -> float:
    """Half the 95 % interval of an accuracy of a half, in points."""
    return 100 * 1.96 * 0.5 / sqrt(works)
