"""A manifest's values to text: numbers, dates, lists as people read them; what is not given, left
out.

    1889.0 -> 1889    date(1889, 1, 2) -> 1889-01-02    ["oil", "canvas"] -> oil; canvas
    None, NaN, "" -> not given                          {"height": 3} -> {"height": 3}, as JSON
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

_WHOLE_AT_MOST = 2**53  # beyond, a float has not all of its digits


def cells_of(named: Iterable[tuple[str, Any]], columns: Sequence[str]) -> dict[str, str]:
    """The values of a row that are given, as text by column.

    Args:
        named: columns with their values; a column without a name is passed over.
        columns: those whose letters' case does not count.

    Raises:
        ValueError: a column stands there twice, or a value is no text; says which.
    """
    cells: dict[str, str] = {}
    seen: set[str] = set()
    for given, value in named:
        name = given.strip()
        name = name.lower() if name.lower() in columns else name
        if not name:
            continue
        if name in seen:
            raise ValueError(f"a column must stand there once; received {name!r} twice")
        seen.add(name)
        try:
            text = as_text(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        # A blank at a path's end may be a file's; anywhere else it is a slip.
        if text.strip():
            cells[sys.intern(name)] = text if name == "path" else text.strip()
    return cells


def as_text(value: Any) -> str:
    """A value as text; "" is not given.

    Raises:
        ValueError: bytes, or half a character.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Tables with gaps hold whole numbers as 1889.0.
        is_whole = value.is_integer() and abs(value) < _WHOLE_AT_MOST
        return "" if math.isnan(value) else f"{value:.0f}" if is_whole else repr(value)
    if isinstance(value, list) and not any(isinstance(item, dict | list | tuple) for item in value):
        return "; ".join(text for item in value if (text := as_text(item)))
    if isinstance(value, dict | list | tuple):
        return _whole(json.dumps(_plain(value), ensure_ascii=False))
    if isinstance(value, datetime):
        there = value.astimezone(UTC) if value.tzinfo else value
        is_day = there.time() == time()
        return there.date().isoformat() if is_day else there.isoformat()
    if isinstance(value, bytes):
        raise ValueError(f"must be text, numbers or dates; received {len(value)} bytes")
    return str(value)


def _plain(value: Any) -> Any:
    """What JSON can say of a nested value."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return as_text(value)


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"must be whole characters; received a half in {text[:60]!a}") from None
    return text
