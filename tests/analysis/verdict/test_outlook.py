"""What further seeds would do: the chance against simulation, the number against the chance."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.verdict.ladder import Looks
from analysis.verdict.noninferiority import Margin, judge
from analysis.verdict.outlook import CHANCE, MOST, chance_to_settle, seeds_to_settle

MARGIN = Margin(0.01)
INF = float("inf")


def known(value, error, images=0.0, seeds=4, freedom=10**6, metrics=1):
    """A finding of one level: its difference, standard errors from seeds and from test images."""
    rng = np.random.default_rng(0)
    found = judge([rng.normal(0.9, 0.01, (2, seeds))] * metrics, MARGIN)
    ones = np.array([[np.nan, 1.0]] * metrics)
    return replace(
        found,
        value=ones * value,
        error=ones * np.hypot(error, images),
        of_images=ones * images**2,
        freedom=(freedom,) * metrics,
        seeds=np.full((metrics, 2), seeds),
    )


@pytest.mark.parametrize("difference", [0.0, -0.004, -0.010, -0.015])
def test_the_chance_is_that_of_a_study_that_goes_on(difference):
    """The truth is drawn from what the data leave, four more seeds are added to four, and the
    bounds looked at again: 40,000 times."""
    rng = np.random.default_rng(0)
    runs, error = 40_000, 0.004
    truth = difference + error * rng.standard_normal(runs)
    fresh = truth + error * rng.standard_normal(runs)
    both, narrow = (difference + fresh) / 2, error / 2**0.5
    matches = both - stats.norm.ppf(1 - 0.05 * 0.8) * narrow > -0.01
    fails = both + stats.norm.ppf(0.95) * narrow < -0.01
    chance = chance_to_settle(known(difference, error), 1, 4)
    assert chance == pytest.approx((matches | fails).mean(), abs=0.01)


def test_without_end_seeds_settle_all_but_what_images_leave():
    assert chance_to_settle(known(-0.009, 0.004), 1, INF) == pytest.approx(1)
    left = chance_to_settle(known(-0.009, 0.004, images=0.004), 1, INF)
    reach = stats.norm.ppf([1 - 0.05 * 0.8, 0.95]) * 0.004
    expected = stats.norm.cdf((0.001 - reach[0]) / 0.004) + stats.norm.cdf(
        (-0.001 - reach[1]) / 0.004
    )
    assert left == pytest.approx(expected, rel=1e-4)


def test_all_metrics_must_match_and_one_may_fail():
    one, three = (known(0.0, 0.004, metrics=m) for m in (1, 3))
    single = chance_to_settle(one, 1, 4)
    assert chance_to_settle(three, 1, 4) == pytest.approx(single**3, abs=2e-3)
    low = known(-0.02, 0.004, metrics=3)
    assert chance_to_settle(low, 1, 4) > chance_to_settle(known(-0.02, 0.004), 1, 4) - 0.05


def test_the_fewest_seeds_with_enough_of_a_chance():
    found = known(-0.003, 0.004)
    seeds = seeds_to_settle(found, 1)
    assert 1 < seeds <= MOST
    assert chance_to_settle(found, 1, seeds) >= CHANCE > chance_to_settle(found, 1, seeds - 1)


def test_more_than_anybody_trains_and_more_than_seeds_can_do():
    assert seeds_to_settle(known(-0.0099, 0.004), 1) == MOST + 1
    assert seeds_to_settle(known(-0.009, 0.004, images=0.01), 1) is None


def test_without_errors_one_seed_comes_first():
    found = judge([np.array([[0.9], [0.9]])], MARGIN)
    assert seeds_to_settle(found, 1) == 1


def test_a_searchs_next_look_may_spend_less():
    found = known(-0.003, 0.004)
    assert chance_to_settle(found, 1, 4, Looks(4)) < chance_to_settle(found, 1, 4)
