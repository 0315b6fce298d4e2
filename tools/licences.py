"""docs/licences.md, drawn from the SBOMs, and which licences may not come in (`tools/sbom.py`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from license_expression import OR, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing

SPDX = get_spdx_licensing()
# Copyleft that would reach artkin itself or its users' service, and licences that forbid trade.
# The LGPL is not among them: its packages are installed as they are and can be replaced.
_FORBIDDEN = ("AGPL-", "BUSL-", "CC-BY-NC-", "GPL-", "SSPL-", "LicenseRef-")
_PAGE = """\
# Licences

Made by `make sbom` from [sbom/serve.cdx.json](sbom/serve.cdx.json) and
[sbom/job.cdx.json](sbom/job.cdx.json): what each image installs on Linux, x86_64, Python 3.11. Not
in it: the base image, and NVIDIA's libraries of `requirements/gpu.txt`. Licences are SPDX
expressions, from the packages' metadata or from the source that is named
(`requirements/licences.toml`).

## Packages

{packages}

## Model weights

EfficientNet-Lite0's come in the `job` image; those in keras are fetched when a backbone of
keras.applications is asked for. Lite1's and Lite2's are in pip packages of the same licence as
Lite0's, which who wants them installs.

{weights}

## Inside the packages

As their own SBOMs or notices say. What tensorflow, grpcio, duckdb, llvmlite and libclang compile in
is not listed there in a form that can be taken over; tensorflow's notices are in its wheel,
`tensorflow/THIRD_PARTY_NOTICES.txt`.

{inside}
"""


def forbidden(expression: str) -> bool:
    """Whether an SPDX expression leaves no licence that may come into an image.

    Of alternatives (OR) one must do; an exception (WITH), as for GCC's libraries, lifts the rule.

    Raises:
        license_expression.ExpressionError: a licence that SPDX does not know.
    """
    return not _allowed(SPDX.parse(expression, validate=True))


def _allowed(node: Any) -> bool:
    if isinstance(node, LicenseWithExceptionSymbol):
        return True
    if isinstance(node, LicenseSymbol):
        return not node.key.startswith(_FORBIDDEN)
    return (any if isinstance(node, OR) else all)(_allowed(each) for each in node.args)


def licence_of(component: dict[str, Any]) -> str:
    """SPDX expression of a component of our own SBOMs."""
    (licence,) = component["licenses"]
    return licence["expression"] if "expression" in licence else licence["license"]["id"]


def licences_page(sboms: dict[str, dict[str, Any]]) -> str:
    """The page, from the SBOM of each image."""
    packages: dict[str, dict[str, Any]] = {}
    images: dict[str, list[str]] = defaultdict(list)
    for image, sbom in sboms.items():
        for package in sbom["components"]:
            packages[package["name"]] = package
            images[package["name"]].append(image)
    ordered = [packages[name] for name in sorted(packages)]
    return _PAGE.format(
        packages=_table(
            ("package", "version", "licence", "images", "said by"),
            (
                (
                    each["name"],
                    each["version"],
                    licence_of(each),
                    ", ".join(images[each["name"]]),
                    source,
                )
                for each in ordered
                for source in [_source(each)]
            ),
        ),
        weights=_table(("in", "licence", "weights", "said by"), _inside(ordered, weights=True)),
        inside=_table(("in", "licence", "libraries", "said by"), _inside(ordered, weights=False)),
    )


def _inside(packages: list[dict[str, Any]], *, weights: bool) -> Iterator[tuple[str, ...]]:
    """Weights, or else libraries, of each package by licence and source."""
    for package in packages:
        groups: dict[tuple[str, str], list[str]] = defaultdict(list)
        for part in package.get("components", []):
            if (part["type"] == "machine-learning-model") == weights:
                name = " ".join(filter(None, (part["name"], part.get("version"))))
                groups[licence_of(part), _source(part)].append(name)
        for (licence, source), names in sorted(groups.items()):
            yield package["name"], licence, ", ".join(sorted(names, key=str.lower)), source


def _source(component: dict[str, Any]) -> str:
    for each in component.get("properties", []):
        return str(each["value"])
    return "metadata"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
