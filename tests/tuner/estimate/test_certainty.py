"""Closed forms against simulation, against scipy's tests, and against the verdict's own rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.verdict.one_std import matching
from tuner.estimate.certainty import (
    affordable,
    certainty,
    half_width,
    non_inferiority_passes,
    one_std_passes,
)

DRAWS = 100_000
# Five standard errors of a share seen in DRAWS draws.
TOLERANCE = 5 * 0.5 / math.sqrt(DRAWS)


def seeds_of_two_equal_networks(n, draws=DRAWS):
    return np.random.default_rng(n).normal(size=(2, draws, n))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 20])
def test_the_one_std_rule_passes_as_often_as_simulated(n):
    ticket, dense = seeds_of_two_equal_networks(n)
    spread = dense.std(axis=1, ddof=1) if n > 1 else 0.0
    passed = ticket.mean(axis=1) >= dense.mean(axis=1) - spread
    assert one_std_passes(n) == pytest.approx(passed.mean(), abs=TOLERANCE)
    # It is the rule that the verdict applies.
    assert [matching(t, d) for t, d in zip(ticket[:200], dense[:200], strict=True)] == list(
        passed[:200]
    )


def test_at_three_seeds_three_metrics_pass_in_56_per_cent():
    assert certainty(3, (1.0, 1.0, 1.0)).one_std == pytest.approx(0.566, abs=0.001)


@pytest.mark.parametrize(("n", "spread"), [(2, 0.5), (3, 0.5), (3, 2.0), (10, 1.2), (40, 3.0)])
def test_the_power_is_that_of_the_paired_t_test(n, spread):
    differences = spread * seeds_of_two_equal_networks(n)[0]
    tested = stats.ttest_1samp(differences, -1.0, axis=1, alternative="greater")
    share = (tested.pvalue < 0.05).mean()
    assert non_inferiority_passes(n, spread, margin=1.0) == pytest.approx(share, abs=TOLERANCE)


@pytest.mark.parametrize("n", [2, 3, 12])
def test_the_half_width_is_the_distance_to_the_one_sided_bound(n):
    differences = np.random.default_rng(0).normal(size=n)
    test = stats.ttest_1samp(differences, 0, alternative="greater")
    bound = test.confidence_interval(0.95).low
    spread = differences.std(ddof=1)
    assert half_width(n, spread) == pytest.approx(differences.mean() - bound)


def test_one_seed_bounds_nothing():
    assert half_width(1, 0.5) == math.inf
    assert non_inferiority_passes(1, 0.5) == 0
    assert (one_std_passes(0), one_std_passes(1)) == (0, 0.5)


def test_metrics_must_pass_together():
    of = certainty(5, (0.4, 0.7, 1.1))
    alone = [non_inferiority_passes(5, s) for s in (0.4, 0.7, 1.1)]
    assert of.non_inferiority == pytest.approx(math.prod(alone))
    assert of.one_std == pytest.approx(one_std_passes(5) ** 3)
    assert of.bounds == tuple(half_width(5, s) for s in (0.4, 0.7, 1.1))


@given(st.integers(2, 20_000), st.floats(0.0, 20.0))
def test_more_seeds_never_say_less(n, spread):
    fewer, more = certainty(n, (spread,)), certainty(n + 1, (spread,))
    assert 0 <= fewer.non_inferiority <= more.non_inferiority + 1e-9 <= 1 + 1e-9
    assert 0 <= fewer.one_std <= more.one_std <= 1
    assert more.bounds[0] <= fewer.bounds[0]


@pytest.mark.parametrize(
    ("budget", "remaining", "seeds"),
    [(100, 100, 3), (109, 100, 3), (110, 100, 4), (200, 100, 13), (99, 100, 2), (10, 100, 0)],
)
def test_seeds_by_hand(budget, remaining, seeds):
    """Three seeds take 100 s from now, each further one 10 s."""
    assert affordable(budget, remaining, 3, 10) == seeds
