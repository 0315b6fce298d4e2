from __future__ import annotations

import numpy as np
import pytest

from training.same_work import copy_rule


def test_a_copy_has_what_one_in_two_hundred_strangers_reaches():
    """Two works at a right angle; 1,000 changed pictures of the first have cosines of 0 to 0.999
    with the second. Five of them reach 0.995; 100 have as much with their own work."""
    other = np.arange(1000) / 1000
    changed = np.stack([np.sqrt(1 - other**2), other], axis=1)
    vectors = np.concatenate([[[1.0, 0.0]], changed])[None].astype(np.float32)
    rule = copy_rule(vectors, np.eye(2, dtype=np.float32), np.array([0]))
    assert rule.cosine == pytest.approx(0.995)
    assert rule.false_alarms == pytest.approx(0.005)
    assert rule.missed == pytest.approx(0.9)
    assert (rule.part, rule.asked, rule.among) == ("work", 1000, 2)


def test_a_refused_picture_is_missed_and_no_alarm():
    vectors = np.array([[[1, 0], [1, 0], [np.nan, np.nan]]], np.float32)
    rule = copy_rule(vectors, np.eye(2, dtype=np.float32), np.array([0]))
    assert (rule.cosine, rule.missed, rule.false_alarms) == (0.0, 0.5, 0.5)
