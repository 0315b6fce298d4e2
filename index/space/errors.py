"""Every error that artkin raises on purpose.

ArtkinError                 base; its text is one line: the rule, the value received, the fix
├── BadInput                what the caller gave cannot be used                     exit code 2
│   ├── BadRows             rows of a manifest; `problems` names them all           exit code 2
│   └── ImageRejected       one picture cannot be used; `slug` says why             exit code 2
├── ArtefactError           a model or release is not what its manifest says        exit code 2
└── Refused                 a rule of artkin's said no (a gate, a lock)             exit code 3

The command line maps them to exit codes (`artkin.py`), the service to HTTP statuses
(`app/problems.py`), each in that one place.
"""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 20


class ArtkinError(Exception):
    """Base of all errors that artkin raises on purpose."""

    exit_code = 2


class BadInput(ArtkinError):
    """What the caller gave cannot be used: a folder, a file, an option, a value."""


class BadRows(BadInput):
    """Rows of a collection's manifest cannot be used; the text names the first twenty.

    Args:
        problems: at least one, each "file:line: what".
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__(shortened(problems))
        self.problems = problems


class ImageRejected(BadInput):
    """One picture cannot be used.

    Args:
        slug: the reason as a stable word, e.g. ``image-corrupt``; the service's problem type.
        message: the reason in words, with the limit and the value received.
    """

    def __init__(self, slug: str, message: str) -> None:
        super().__init__(message)
        self.slug = slug

    def __reduce__(self) -> tuple[type[ImageRejected], tuple[str, str]]:
        """So that it comes through from another process."""
        return ImageRejected, (self.slug, str(self))


class ArtefactError(ArtkinError):
    """A model or a release on disk is not what its manifest says, or is of another format."""


class Refused(ArtkinError):
    """A rule of artkin's own said no; nothing was changed."""

    exit_code = 3


def shortened(lines: Sequence[str]) -> str:
    """The first twenty, in one line, and how many more there are."""
    more = len(lines) - _SHOWN
    rest = f"; and {more} more, which artkin check --json names" if more > 0 else ""
    return "; ".join(lines[:_SHOWN]) + rest
