"""A page that is one file: it loads nothing, and whatever is put into it is text.

Built as a tree, so that there is no place where escaping could be forgotten.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Content: TypeAlias = Element | str

_HERE = Path(__file__).parent
STYLE = "".join(
    (_HERE / name).read_text(encoding="utf-8") for name in ("styles/colours.css", "page.css")
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def element(tag: str, *content: Content, **attributes: str) -> Element:
    """An element with text and elements in it; `class_` stands for class, `aria_label` for
    aria-label."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made = Element(tag, named)
    for one in content:
        if isinstance(one, Element):
            made.append(one)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + one
        else:
            made.text = (made.text or "") + one
    return made


def page(title: str, style: str, *body: Element) -> str:
    """A whole page.

    Args:
        style: our own CSS, which is not escaped, after `STYLE`.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", STYLE, style),
    )
    whole = element("html", head, element("body", *body), lang="en")
    return "<!doctype html>\n" + tostring(whole, encoding="unicode", method="html") + "\n"


def picture_url(webp: bytes) -> str:
    """A picture as a URL that holds it."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")
