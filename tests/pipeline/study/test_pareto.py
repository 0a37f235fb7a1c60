"""Compute at equal accuracy, on curves whose ratio is known."""

from __future__ import annotations

import pytest

from pipeline.study.pareto import Point, compute_ratio, pareto_front


def curve(*pairs, error=0.0):
    return [Point(compute, accuracy, error) for compute, accuracy in pairs]


def test_the_front_leaves_out_what_something_cheaper_matches():
    points = curve((4, 0.7), (1, 0.5), (2, 0.45), (3, 0.7), (1, 0.4), (9, 0.9))
    assert pareto_front(points) == curve((1, 0.5), (3, 0.7), (9, 0.9))


def test_a_shifted_curve_has_its_shift_as_ratio_everywhere():
    reference = curve((1, 0.5), (10, 0.7), (100, 0.8))
    family = curve((4, 0.5), (40, 0.7), (400, 0.8))
    ratio = compute_ratio(family, reference)
    for value in (ratio.mean, ratio.at_lowest, ratio.at_highest):
        assert value == pytest.approx(4)
    assert (ratio.lowest_accuracy, ratio.highest_accuracy) == (0.5, 0.8)
    assert ratio.interval == pytest.approx((4, 4))


def test_only_accuracies_that_both_reach_are_compared():
    reference = curve((1, 0.4), (100, 0.8))
    family = curve((1, 0.6), (100, 0.9))
    ratio = compute_ratio(family, reference)
    assert (ratio.lowest_accuracy, ratio.highest_accuracy) == (0.6, 0.8)
    assert ratio.at_lowest == pytest.approx(1 / 10)  # the reference is halfway up there
    assert ratio.at_highest == pytest.approx(100 ** (2 / 3) / 100)
    assert ratio.at_lowest < ratio.mean < ratio.at_highest


def test_ranges_that_do_not_overlap_give_no_ratio():
    assert compute_ratio(curve((1, 0.5), (2, 0.6)), curve((1, 0.7), (2, 0.8))) is None


def test_uncertain_accuracies_widen_the_interval():
    pairs = (1, 0.5), (10, 0.6), (100, 0.7)
    low, high = compute_ratio(curve(*pairs, error=0.005), curve(*pairs, error=0.005)).interval
    assert 0.5 < low < 1 < high < 2
    wider = compute_ratio(curve(*pairs, error=0.02), curve(*pairs, error=0.02)).interval
    assert wider[0] < low and wider[1] > high
