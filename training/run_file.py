"""`run.json`: what a training run was started with, so that it goes on with the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from index.space.artefact import new_file, sha256_of
from index.space.errors import BadInput
from training.recipe import Recipe
from training.state import reading

RUN = "run.json"
_WEIGHTS = "weights"


def write_run(folder: Path, recipe: Recipe, weights: Path | None) -> None:
    """Write down the recipe and the backbone's weights, where they are a file of the user's.

    Raises:
        OSError: the disk is full, or the weights can no longer be read.
    """
    document = recipe.as_dict() | {_WEIGHTS: _described(weights) if weights else None}
    with new_file(folder / RUN) as path:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_recipe(folder: Path) -> dict[str, Any]:
    """The recipe as JSON types.

    Raises:
        ArtefactError: the file is missing or damaged.
    """
    document = _read(folder)
    document.pop(_WEIGHTS, None)
    return document


def check_resumed(folder: Path, recipe: Recipe, weights: Path | None) -> Path | None:
    """See that a run goes on with what it was started with.

    Args:
        weights: the file given now; None takes the one of the start.

    Returns:
        The file of the backbone's weights, or None.

    Raises:
        BadInput: another recipe or other weights, or the file knows something that this version
            of artkin does not.
        ArtefactError: the file is missing or damaged.
    """
    before = _read(folder)
    started_with = before.pop(_WEIGHTS, None)
    now = json.loads(json.dumps(recipe.as_dict()))
    if unknown := sorted(before.keys() - now.keys()):
        raise BadInput(
            f"{folder / RUN} must have the fields of a recipe; received {', '.join(unknown)} "
            "beside them; resume with the version that started the run, or name another --run"
        )
    then, phases = before.pop("phases", None), now.pop("phases")
    different = _different(before, now)
    if then != phases:
        # A file that was changed by hand may have other phases than can be told apart.
        try:
            different += [
                f"phase {number} {change}"
                for number, pair in enumerate(zip(then, phases, strict=True), 1)
                for change in _different(*pair)
            ] or ["phases"]
        except (TypeError, ValueError, AttributeError):
            different.append("phases")
    if different:
        raise BadInput(
            "a run is resumed with the recipe it was started with; different: "
            + ", ".join(different)
        )
    return _same_weights(folder, started_with, weights)


def _different(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]


def _same_weights(folder: Path, before: dict[str, str] | None, now: Path | None) -> Path | None:
    if before is None and now is None:
        return None
    rule = "a run is resumed with the weights it was started with"
    if before is None:
        raise BadInput(f"{rule}, the backbone's own; received --weights {now}; leave it out")
    with reading(folder / RUN):
        path, digest = now or Path(before["file"]), before["sha256"]
    if not path.is_file() or sha256_of(path) != digest:
        raise BadInput(
            f"{rule}: {before['file']}; {path} is missing or another file; name its place with "
            "--weights"
        )
    return path


def _described(weights: Path) -> dict[str, str]:
    return {"file": str(weights.resolve()), "sha256": sha256_of(weights)}


def _read(folder: Path) -> dict[str, Any]:
    with reading(folder / RUN):
        return dict(json.loads((folder / RUN).read_text(encoding="utf-8")))
