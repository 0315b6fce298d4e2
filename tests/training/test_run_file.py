"""A run goes on with what it was started with: recipe and weights."""

from __future__ import annotations

import json

import pytest

from index.space.errors import ArtefactError, BadInput
from training.run_file import RUN, check_resumed, read_recipe, write_run


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "b0.h5"
    path.write_bytes(b"numbers")
    return path


def change(folder, **fields) -> None:
    document = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(document | fields))


def test_what_is_written_is_gone_on_with(tmp_path, small_recipe, weights):
    write_run(tmp_path, small_recipe, None)
    assert check_resumed(tmp_path, small_recipe, None) is None
    assert read_recipe(tmp_path) == json.loads(json.dumps(small_recipe.as_dict()))
    write_run(tmp_path, small_recipe, weights)
    assert check_resumed(tmp_path, small_recipe, None) == weights
    assert check_resumed(tmp_path, small_recipe, weights) == weights
    assert read_recipe(tmp_path) == json.loads(json.dumps(small_recipe.as_dict()))


def test_weights_may_move_and_not_change(tmp_path, small_recipe, weights):
    write_run(tmp_path, small_recipe, weights)
    moved = weights.rename(tmp_path / "elsewhere.h5")
    assert check_resumed(tmp_path, small_recipe, moved) == moved
    with pytest.raises(BadInput, match=r"b0\.h5 is missing or another file; name its place"):
        check_resumed(tmp_path, small_recipe, None)
    weights.write_bytes(b"other numbers")
    for given in (None, weights):
        with pytest.raises(BadInput, match="the weights it was started with"):
            check_resumed(tmp_path, small_recipe, given)


def test_a_run_of_the_backbone_s_own_weights_takes_no_others(tmp_path, small_recipe, weights):
    write_run(tmp_path, small_recipe, None)
    with pytest.raises(BadInput, match="the backbone's own; received --weights"):
        check_resumed(tmp_path, small_recipe, weights)


def test_unknown_keys_fail(tmp_path, small_recipe):
    write_run(tmp_path, small_recipe, None)
    change(tmp_path, marign=1, colour="red")
    with pytest.raises(BadInput, match=r"run\.json must have .*; received colour, marign beside"):
        check_resumed(tmp_path, small_recipe, None)


def test_another_recipe_and_a_damaged_file_are_named(tmp_path, small_recipe):
    write_run(tmp_path, small_recipe, None)
    change(tmp_path, dimension=64)
    with pytest.raises(BadInput, match="different: dimension 64 -> 32"):
        check_resumed(tmp_path, small_recipe, None)
    for damaged in ({"weights": {"file": "b0.h5"}}, {"weights": {"sha256": 1}}):
        write_run(tmp_path, small_recipe, None)
        change(tmp_path, **damaged)
        with pytest.raises(ArtefactError, match="missing or damaged"):
            check_resumed(tmp_path, small_recipe, None)
