"""What `artkin compare` found: in sentences, and as a page of works with their neighbours."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

from PIL import Image

from index.html import element, page, picture_url
from index.progress import figure
from index.release import Release

_STYLE = (Path(__file__).parent / "before_after.css").read_text(encoding="utf-8")
_SIDE, _QUALITY = 160, 70
Result: TypeAlias = dict[str, Any]
Picture: TypeAlias = Callable[[str], str]
# What is known of both releases, by its name in the result.
_FACTS = {
    "release": "release",
    "model": "model",
    "numbers a work": "dimension",
    "works": "works",
    "works that the other has not": "works_of_its_own",
}


def render(result: Result, old: Release, new: Release) -> str:
    """The page's HTML, all in one.

    Args:
        result: of `neighbours.compare_neighbours`.
        old, new: the releases that it compared.
    """
    pictures = {"before": _pictures(old), "after": _pictures(new)}
    models = f"{result['old']['model']} and {result['new']['model']}"
    return page(
        f"Before and after: {models}",
        _STYLE,
        element(
            "header",
            element("p", "artkin", class_="wordmark"),
            element("h1", "Before and after"),
            element("div", _table(result), class_="scroll"),
            element("ul", *(element("li", text) for text in sentences(result)), class_="said"),
        ),
        element(
            "main",
            element("h2", "What changed most"),
            element("p", _legend(result)),
            element("ol", *(_work(one, pictures) for one in result["queries"]), class_="works"),
        ),
    )


def sentences(result: Result) -> list[str]:
    """What was found, in words."""
    k, overlap, precision = result["k"], result["overlap"], result["precision"]
    found = [
        f"Overlap@{k}: {_mean(overlap)} of a work's {k} neighbours stayed; {overlap['queries']} of "
        f"the {result['works']} works of both were asked"
    ]
    if result["other_picture"]:
        found.append(f"{result['other_picture']} have another picture now and were not asked")
    if precision is None:
        return [*found, f"Precision@{k}: -, {result['reasons']['precision']}"]
    return [
        *found,
        f"Precision@{k}: after minus before {_mean(precision['difference'])} over "
        f"{precision['queries']} {precision['of']}; {precision['verdict']}",
    ]


def _mean(mean: dict[str, float | None]) -> str:
    value = figure(mean["value"])
    if mean["low"] is None:
        return value
    return f"{value} ({figure(mean['low'])} to {figure(mean['high'])})"


def rows(result: Result) -> list[tuple[str, str, str]]:
    """What is said of both releases: its name, before, after."""
    found = [
        (title, str(result["old"][name]), str(result["new"][name]))
        for title, name in _FACTS.items()
    ]
    precision = result["precision"] or {"old": None, "new": None}
    title = f"Precision@{result['k']}"
    return [*found, (title, figure(precision["old"]), figure(precision["new"]))]


def _table(result: Result) -> Element:
    heads = [element("th", name, scope="col") for name in ("", "before", "after")]
    lines = [
        element("tr", element("th", title, scope="row"), *(element("td", one) for one in values))
        for title, *values in rows(result)
    ]
    return element("table", element("thead", element("tr", *heads)), element("tbody", *lines))


def _legend(result: Result) -> str:
    asked = result["overlap"]["queries"]
    text = (
        f"{len(result['queries'])} of the {asked} works asked, those first whose neighbours "
        "changed most; so they say what may change, not how much does. A frame: it stayed."
    )
    if any(one["class"] is not None for one in result["queries"]):
        text += " ✓ has the class of the work asked about, ✗ another."
    return text


def _work(query: Result, pictures: dict[str, Picture]) -> Element:
    said = [element("b", query["title"]), element("br"), query["class"] or "no class"]
    answers = [
        part
        for name in ("before", "after")
        for part in (
            element("h3", name),
            element("ol", *(_neighbour(one, pictures[name]) for one in query[name])),
        )
    ]
    stayed = f"{query['stayed']} of {len(query['after'])} stayed"
    asked = element(
        "figure",
        _image(query, pictures["after"]),
        element("figcaption", *said, element("br"), stayed),
    )
    return element("li", asked, element("div", *answers, class_="answers"))


def _neighbour(work: Result, picture: Picture) -> Element:
    mark = {None: "", True: "✓ ", False: "✗ "}[work["right"]]
    said: list[Element | str] = [mark + (work["class"] or "")]
    if work["stayed"]:
        said.append(element("span", "stayed"))
    kinds = ["stayed"] * work["stayed"] + ["wrong"] * (work["right"] is False)
    figure_ = element("figure", _image(work, picture), element("figcaption", *said))
    return element("li", figure_, class_=" ".join(kinds))


def _image(work: Result, picture: Picture) -> Element:
    title = work["title"]
    said = f"{title}, {work['class']}" if work["class"] else title
    return element("img", src=picture(work["id"]), alt=said, title=said, loading="lazy")


def _pictures(release: Release) -> Picture:
    """A function from a work's id to its picture as a URL, smaller than its thumbnail."""

    @functools.cache
    def picture(id_: str) -> str:
        entry = release.catalogue.by_id(id_)
        assert entry is not None  # it answered
        with Image.open(io.BytesIO(release.thumbnail(entry))) as image:
            image.thumbnail((_SIDE, _SIDE))
            file = io.BytesIO()
            image.save(file, "WEBP", quality=_QUALITY)
        return picture_url(file.getvalue())

    return picture
