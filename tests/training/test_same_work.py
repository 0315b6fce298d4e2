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
    rule = copy_rule(
        vectors, np.eye(2, dtype=np.float32), np.array([0]), np.arange(2), map(str, range(1000))
    )
    assert rule.cosine == pytest.approx(0.995)
    assert rule.false_alarms == pytest.approx(0.005)
    assert rule.missed == pytest.approx(0.9)
    assert (rule.part, rule.asked, rule.among) == ("work", 1000, 2)


def test_the_rates_are_of_works_that_did_not_choose_the_cosine():
    """Pictures of work 0 have 0.5 with it and 0.8 with a stranger, those of work 1 0.5 and 0.1. By
    the 0.1 that the second would choose the first are all found and all false; by the 0.8 of the
    first the second are all missed."""
    gallery = np.eye(4, dtype=np.float32)[[0, 1, 2]]
    rest = [(1 - 0.5**2 - stranger**2) ** 0.5 for stranger in (0.8, 0.1)]
    pictures = np.array([[0.5, 0, 0.8, rest[0]], [0, 0.5, 0.1, rest[1]]], np.float32)
    vectors = np.repeat(pictures[:, None], 101, axis=1)
    rule = copy_rule(vectors, gallery, np.array([0, 1]), np.arange(3), map(str, range(100)))
    assert rule.cosine == pytest.approx(0.8, abs=0.001)
    assert (rule.missed, rule.false_alarms) == (0.5, 0.5)
    assert (rule.asked, rule.among) == (200, 3)


def test_a_refused_picture_is_missed_and_no_alarm():
    vectors = np.array([[[1, 0], [1, 0], [np.nan, np.nan]]], np.float32)
    gallery, changes = np.eye(2, dtype=np.float32), ("crop", "blur")
    rule = copy_rule(vectors, gallery, np.array([0]), np.arange(2), changes)
    assert (rule.cosine, rule.missed, rule.false_alarms) == (0.0, 0.5, 0.5)
    assert rule.missed_by_change == {"crop": 0.0, "blur": 1.0}


def test_another_scan_of_a_work_is_no_stranger():
    """Three works at right angles, the first there twice: nobody reaches 0 but its own."""
    gallery = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    vectors = np.repeat(gallery[[0, 2]][:, None], 3, axis=1)
    same = np.array(["a", "a", "b", "c"])
    rule = copy_rule(vectors, gallery, np.array([0, 2]), same, "ab")
    assert (rule.cosine, rule.missed) == (0.0, 0.0)
    apart = copy_rule(vectors, gallery, np.array([0, 2]), np.arange(4), "ab")
    assert (apart.cosine, apart.missed) == (1.0, 0.0)
