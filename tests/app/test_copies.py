"""Pictures of the same work come first and are named, apart from works that are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.decoding import Decoder
from app.loading import load
from app.options import SearchOptions
from app.serving import Serving
from index.publish import publish
from tests.app.conftest import STYLE, WORK, write_synthetic


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, two_parts: Path) -> Serving:
    """w0, the query; w1 and w3 of its very style, w2 another picture of it in other light."""
    style = np.eye(8)[[0, 0, 1, 0, 2]]
    work = np.eye(8)[[0, 1, 0, 2, 3]]
    work[2] = [0.9, 0, 0, 0, 0, 0, 0, 0.19**0.5]
    work[3] = [0.5, 0, 0.75**0.5, 0, 0, 0, 0, 0]
    vectors = np.concatenate([STYLE**0.5 * style, WORK**0.5 * work], axis=1).astype(np.float32)
    releases = tmp_path_factory.mktemp("copies") / "releases"
    releases.mkdir()
    id_ = write_synthetic(releases, two_parts, works=5, vectors=vectors)
    publish(releases, id_)
    return load(two_parts, releases / id_, None, Decoder(1), releases / "no-changes")


def test_copies_come_first_then_works_alike(serving: Serving) -> None:
    """Joined, w2 (0.45 x 0.9) would be behind w3 (0.55 + 0.45 x 0.5) and w1 (0.55)."""
    results = serving.similar("w0", SearchOptions(k=4)).results
    assert [(work.id, work.copy_of_query) for work in results] == [
        *(("w2", True), ("w3", False), ("w1", False), ("w4", False))
    ]
    assert [work.score for work in results] == pytest.approx([0.405, 0.775, 0.55, 0.0], abs=1e-6)
    assert [work.rank for work in results] == [1, 2, 3, 4]


def test_fewer_are_asked_for_than_exist(serving: Serving) -> None:
    assert [work.id for work in serving.similar("w0", SearchOptions(k=1)).results] == ["w2"]
    assert [work.id for work in serving.similar("w0", SearchOptions(k=2)).results] == ["w2", "w3"]
    assert len(serving.similar("w0", SearchOptions(k=100)).results) == 4


def test_a_work_has_no_copy_where_none_is_near_enough(serving: Serving) -> None:
    assert not any(work.copy_of_query for work in serving.similar("w4", SearchOptions(k=4)).results)


def test_a_model_without_the_rule_names_no_copies(service, a_photo) -> None:
    assert not any(work["copy_of_query"] for work in service.search(a_photo).json()["results"])
