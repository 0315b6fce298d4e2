"""The page: everything it shows, gathered and put into `page.html`."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.embed import components
from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from index.html import STYLE, picture_url
from index.progress import figure
from training.dataset import Dataset
from training.document import (
    Document,
    count,
    counts_by_class,
    field,
    items,
    number,
    phases,
    word,
)
from training.report.plots import (
    MARKERS,
    colour,
    drawn_works,
    learning_curves,
    line_styles,
    maps,
    marker,
    why_no_maps,
)
from training.report.tested import (
    Asked,
    K,
    WorksTested,
    ask,
    confusion,
    drawn,
    most_confident_errors,
    most_confused,
)

_HERE = Path(__file__).parent
_THUMBNAIL, _QUALITY = 64, 70
# A larger table cannot be read; then its largest numbers are listed.
_CONFUSION_CLASSES = 30


def render(document: Document, dataset: Dataset, tested: WorksTested, *, under_way: bool) -> str:
    """The page's HTML, all in one: scripts, styles and pictures.

    Args:
        document: the report with its findings.
        tested: the test works under the model that is shown.
        under_way: whether the run goes on.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"figure": figure, "breakable": _breakable}
    thumbnail = _thumbnails(dataset)
    reason = why_no_maps(tested.embeddings)
    numbers = _numbers(document)
    classes = _classes(document, dataset.classes, tested.phase)
    asked = ask(tested)
    curves = learning_curves(document)
    mapped = {} if reason else maps(tested, thumbnail, dataset.classes)
    # Of one call, since maps share their works.
    plots = {**curves, **mapped}
    script, places = components(plots, wrap_script=False) if plots else ("", {})
    errors = [a for a in asked if any(a.wrong)]
    return environment.get_template("page.html").render(
        document=document,
        under_way=under_way,
        style=Markup(STYLE + (_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704  ours
        scripts=[Markup(text) for text in _scripts(plots)],  # noqa: S704  Bokeh's
        recipe=_recipe(document),
        numbers=numbers,
        has_style=any(row["style"] is not None for row in numbers),
        curves=list(curves),
        lines={title: line_styles(title) for title in curves},
        maps=list(mapped),
        places={name: Markup(place) for name, place in places.items()},  # noqa: S704  Bokeh's
        plot_script=Markup(script),  # noqa: S704  Bokeh's
        no_maps=reason,
        legend=_legend(dataset.classes),
        map_works=len(drawn_works(len(tested))),
        tested=tested,
        confusion=_confusion(tested, dataset.classes),
        k=K,
        errors=[_shown(a, tested, thumbnail) for a in most_confident_errors(errors)],
        error_count=len(errors),
        asked_count=len(asked),
        neighbours=[_shown(a, tested, thumbnail) for a in drawn(asked, tested)],
        classes=classes,
        has_ceiling=any(row["ceiling"] is not None for row in classes),
    )


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _scripts(plots: dict[str, Any]) -> list[str]:
    """BokehJS, where there is anything to plot."""
    if not plots:
        return []
    return Resources(mode="inline", components=["bokeh"]).js_raw


def _thumbnails(dataset: Dataset) -> Callable[[int], str]:
    """A function from a work's row to its picture as a data URL."""

    @functools.cache
    def thumbnail(row: int) -> str:
        file = io.BytesIO()
        side = (_THUMBNAIL, _THUMBNAIL)
        picture = Image.fromarray(dataset.pixels[row]).resize(side, Image.Resampling.LANCZOS)
        picture.save(file, "WEBP", quality=_QUALITY)
        return picture_url(file.getvalue())

    return thumbnail


def _recipe(document: Document) -> list[tuple[str, str]]:
    """What was trained, by name."""
    works = {part: count(document, "works", part) for part in ("train", "validation", "test")}
    told = {
        "Preset": word(document, "recipe", "name"),
        "Backbone": word(document, "recipe", "backbone"),
        "Input": _pixels(count(document, "recipe", "size")),
        "Embedding": _dimensions(document),
        "Classes": str(len(items(document, "classes"))),
        "Works": ", ".join(f"{n} {part}" for part, n in works.items() if n is not None),
        "Time": _minutes(number(document, "seconds")),
    }
    return [(name, value) for name, value in told.items() if value]


def _pixels(size: int | None) -> str | None:
    return None if size is None else f"{size} x {size} pixels"


def _dimensions(document: Document) -> str | None:
    dimension = count(document, "recipe", "dimension")
    work = count(document, "recipe", "work", "dimension")
    if dimension is None:
        return None
    return f"{dimension} numbers" + (f" for style, {work} for the work" if work else "")


def _minutes(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds / 60:.1f} minutes"


def _numbers(document: Document) -> list[dict[str, Any]]:
    """A row a phase, the untrained features first."""
    rows = [("Untrained features", field(document, "untrained"), field(document, "untrained"))]
    rows += [(f"Phase {p.get('phase')}", p, p.get("test")) for p in phases(document)]
    return [
        {
            "name": name,
            "kept": count(phase, "phase") == count(document, "kept_phase") and name[0] == "P",
            "accuracy": number(test, "accuracy"),
            "precision": number(test, "precision"),
            "low": number(test, "measures", f"precision_at_{K}", "low"),
            "high": number(test, "measures", f"precision_at_{K}", "high"),
            "silhouette": number(test, "silhouette"),
            "style": number(test, "parts", "style", "silhouette_cosine"),
            "same_work": number(test, "same_work", "recall_at_1"),
            "health": {
                key: number(phase, "embedding", key)
                for key in (
                    "effective_rank",
                    "dimension",
                    "norm_min",
                    "norm_max",
                    "norm_of_mean",
                    "hubness_skewness",
                    "most_often_neighbour",
                    "share_never_neighbour",
                )
            },
        }
        for name, phase, test in rows
    ]


def _legend(classes: list[str]) -> list[tuple[str, str, str]]:
    return [
        (name, colour(code, len(classes)), MARKERS[marker(code)])
        for code, name in enumerate(classes)
    ]


def _confusion(tested: WorksTested, classes: list[str]) -> dict[str, Any] | None:
    matrix = confusion(tested, classes)
    if matrix is None:
        return None
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    rows = [
        (name, list(zip(row.tolist(), share.tolist(), strict=True)))
        for name, row, share in zip(classes, matrix, shares, strict=True)
    ]
    return {
        "classes": classes,
        "rows": rows if len(classes) <= _CONFUSION_CLASSES else [],
        "pairs": most_confused(matrix, classes)[:10],
    }


def _shown(asked: Asked, tested: WorksTested, thumbnail: Callable[[int], str]) -> dict[str, Any]:
    """A query and its answers as the page shows them."""
    works = [
        {
            "name": tested.names[work],
            "label": tested.labels[work],
            "said": tested.predicted[work] if tested.predicted else None,
            "src": thumbnail(int(tested.rows[work])),
        }
        for work in (asked.query, *asked.answers)
    ]
    answers = [
        {**work, "cosine": cosine, "wrong": wrong}
        for work, cosine, wrong in zip(works[1:], asked.cosines, asked.wrong, strict=True)
    ]
    return {"query": works[0], "answers": answers, "wrong": sum(asked.wrong)}


def _classes(document: Document, classes: list[str], phase: int) -> list[dict[str, Any]]:
    """A row a class: its works and its Precision@5."""
    parts = {part: counts_by_class(document, part) for part in ("train", "validation", "test")}
    shown = next((p for p in phases(document) if p.get("phase") == phase), None)
    test = field(shown, "test") if shown else field(document, "untrained")
    return [
        {
            "name": name,
            **{part: counts.get(name) for part, counts in parts.items()},
            "precision": number(test, "measures_by_class", name, "precision_at_5", "value"),
            "ceiling": number(test, "ceiling_by_class", name),
        }
        for name in classes
    ]
