"""The replay bench: its worlds, its bookkeeping, and what it promises of the search."""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.verdict.noninferiority import Margin
from analysis.verdict.one_std import matching
from search_spaces.levels import sparsity
from tuner.scheduling.adaptive import REGIMES, Cell, LevelSearch, SearchPlan
from tuner.scheduling.replay import Outcome, grid, outcome, play, replay, rows
from tuner.scheduling.worlds import World, paper_like, recorded

PLAN = SearchPlan(tuple(range(1, 20)), tuple(range(60)), 3, 54, Margin(0.01))


def world(losses, seeds=6, spread=0.001, seed=0):
    """All metrics lose the same by level."""
    truth = np.array([[0.95], [0.8], [0.5]]) - np.array([0.0, *losses])
    noise = np.random.default_rng(seed).normal(0, spread, (3, len(losses) + 1, seeds))
    return World(truth, noise, np.full(3, spread))


# Worlds


@pytest.mark.parametrize(
    ("losses", "margin", "expected"),
    [
        ([0.0, 0.005, 0.02], 0.01, 2),
        ([0.02, 0.02, 0.005], 0.01, 3),  # not monotone: the largest
        ([0.02, 0.02, 0.02], 0.01, 0),
        ([-0.1, -0.1, -0.1], 0.01, 3),
    ],
)
def test_the_true_extreme(losses, margin, expected):
    assert world(losses).extreme(np.full(3, margin)) == expected


def test_each_metric_has_its_own_margin():
    of = world([0.005, 0.015])
    assert of.extreme(np.array([0.02, 0.02, 0.02])) == 2
    assert of.extreme(np.array([0.02, 0.01, 0.02])) == 1


def test_a_cell_shows_the_truth_and_its_seeds_noise():
    of = world([0.1, 0.2])
    result = of.result(Cell(2, "adversarial", 4))
    assert result.scores == {
        "SA": pytest.approx(0.6 + of.noise[1, 2, 4]),
        "RA": pytest.approx(0.3 + of.noise[2, 2, 4]),
    }
    assert of.result(Cell(0, "standard", 0)).scores == {
        "SA": pytest.approx(0.95 + of.noise[0, 0, 0])
    }


def test_the_hump_is_table_a2s():
    """RA 47.1 at dense, its peak of 60.1 one level before the knee, 56.0 two levels below that and
    50.9 two above."""
    for number in range(20):
        of = paper_like("humped")(np.random.default_rng(number))
        ra = 100 * of.truth[2]
        assert ra[0] == pytest.approx(47.1)
        assert 55.9 < ra.max() <= 60.1
        peak = int(ra.argmax())
        assert (np.diff(ra[: peak + 1]) > 0).all() and (np.diff(ra[peak:]) <= 0).all()


@pytest.mark.parametrize("shape", ["monotone", "humped"])
def test_paper_like_worlds_are_as_described(shape):
    draws = [paper_like(shape)(np.random.default_rng(n)) for n in range(200)]
    spreads = np.array([of.spread for of in draws])
    assert spreads.min() >= 0.003 and spreads.max() <= 0.008
    assert fmean(spreads.ravel()) == pytest.approx(0.0055, abs=0.0005)
    seen = np.array([of.noise.std() for of in draws])
    assert seen == pytest.approx(np.sqrt((spreads**2).mean(1)), rel=0.1)
    extremes = {of.extreme(np.full(3, 0.01)) for of in draws}
    assert min(extremes) < 7 and max(extremes) > 16
    if shape == "monotone":
        assert all((np.diff(of.truth) < 0).all() for of in draws)


def test_a_world_is_its_generators():
    first, second = (paper_like("humped")(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.noise, second.noise)


@pytest.mark.parametrize("pairing", [0.0, 0.5, 0.9])
def test_pairing_is_the_share_that_levels_have_in_common(pairing):
    of = paper_like("monotone", levels=60, seeds=60, pairing=pairing)(np.random.default_rng(0))
    for metric in of.noise:
        found = np.corrcoef(metric)[np.triu_indices(61, 1)].mean()
        assert found == pytest.approx(pairing, abs=0.1)


def measured(seeds=3, fraction=1.0, levels=(0, 2, 6)):
    """A table of two-level curves: level 2 loses 1 point, level 6 loses 5."""
    records = []
    for level in levels:
        for regime in REGIMES:
            for seed in range(seeds):
                loss = {0: 0.0, 2: 0.01, 6: 0.05}[level]
                score = 0.9 - loss + 0.01 * (seed - (seeds - 1) / 2)
                labels = {"theta": "standard", "pruning": "imp" if level else "dense"}
                labels |= {"level": level, "sparsity": sparsity(level), "dataset": "digits"}
                labels |= {"fraction": fraction, "regime": regime, "source_seed": 0, "seed": seed}
                records.append({**labels, "SA": score, "RA": score - 0.4})
    return pd.DataFrame(records)


def test_recorded_curves_are_means_with_lines_between():
    draws = recorded(measured(), tuple(range(1, 8)))
    assert list(draws) == ["standard imp digits"]
    of = draws["standard imp digits"](np.random.default_rng(0))
    losses = np.array([0, 0.5, 1, 2, 3, 4, 5, 5]) / 100
    np.testing.assert_allclose(of.truth[0], 0.9 - losses, atol=1e-12)
    np.testing.assert_allclose(of.truth[2], 0.5 - losses, atol=1e-12)
    # Deviations -.01, 0, .01 at three levels: pooled standard deviation 0.01.
    np.testing.assert_allclose(of.spread, 0.01)


def test_recorded_curves_need_two_levels_and_two_seeds():
    assert recorded(measured(seeds=1), (1, 2)) == {}
    assert recorded(measured(levels=(0,)), (1, 2)) == {}
    no_dense = measured()
    assert recorded(no_dense[no_dense["level"] > 0], (1, 2)) == {}


def test_fractions_of_a_dataset_are_worlds_of_their_own():
    both = pd.concat([measured(), measured(fraction=0.1)])
    assert list(recorded(both, (1, 2))) == ["standard imp digits", "standard imp digits 10 %"]


# Bookkeeping


def test_a_grid_trains_each_of_its_cells_once():
    of = world([0.0] * 4)
    results = play(of, grid(4, 3), None)
    assert len(grid(4, 3)) == 5 * 2 * 3 and set(results) == set(grid(4, 3))
    assert results[Cell(3, "standard", 2)] == of.result(Cell(3, "standard", 2))


def test_play_is_the_search_itself():
    """In simulated time on several slots, or cell by cell: the same transfers."""
    of = paper_like("humped")(np.random.default_rng(1))
    search = LevelSearch(PLAN)
    while batch := search.ask():
        for cell in reversed(batch):
            search.tell(cell, of.result(cell))
    assert set(play(of, [], LevelSearch(PLAN))) == search.asked


def test_an_outcome_by_hand():
    """Level 2 of 3 is the true extreme, far from the margin: all rules name it."""
    of = world([0.0, 0.0005, 0.2])
    found = outcome(of, play(of, grid(3, 6), None), Margin(0.01), None)
    assert found == Outcome(
        transfers=48, one_std=found.one_std, shown=0, likely=0, covered=True, width=0
    )
    scores = of.truth[:, :, None] + of.noise
    passing = [k for k in (1, 2, 3) if all(matching(m[k], m[0]) for m in scores)]
    assert found.one_std == max(passing, default=0) - of.extreme(of.spread)


def test_policies_meet_the_same_worlds():
    seen = []

    def spy(rng):
        of = paper_like("monotone")(rng)
        seen.append(of.noise[0, 0, 0])
        return of

    replay(spy, PLAN, None, 5, 7)
    replay(spy, PLAN, 54, 5, 7)
    assert seen[:5] == seen[5:] and len(set(seen)) == 5


def test_rows_are_rates():
    outcomes = [
        Outcome(10, 0, -1, 0, True, 2),
        Outcome(20, 1, -2, 0, True, 1),
        Outcome(30, 3, 0, 1, False, 0),
        Outcome(40, 0, 0, -1, True, 1),
    ]
    one_std, shown, likely = rows("x", "y", outcomes)
    assert [row.rule for row in (one_std, shown, likely)] == [
        *("one-std", "non-inferiority", "estimate"),
    ]
    assert (one_std.transfers, one_std.exact, one_std.within_one) == (25, 0.5, 0.75)
    assert (shown.exact, shown.within_one, shown.covers, shown.width) == (0.5, 0.75, 0.75, 1)
    assert (likely.exact, likely.within_one, likely.covers) == (0.5, 1.0, None)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(10, 130), st.sampled_from(["monotone", "humped"]))
def test_a_simulated_search_keeps_to_its_budget(seed, budget, shape):
    of = paper_like(shape)(np.random.default_rng(seed))
    plan = replace(PLAN, budget=budget)
    results = play(of, [], LevelSearch(plan))
    assert len(results) <= budget
    found = outcome(of, results, plan.margin, plan.looks)
    assert found.transfers == len(results) and 0 <= found.width <= 19


# What the search promises, on 60 worlds of each shape and a fixed seed. Bounds are what was
# measured, said beside them (monotone; humped worlds), less about a standard error of 60 worlds.

RUNS = 60


@pytest.fixture(scope="module", params=["monotone", "humped"])
def bench(request):
    full = 2 * 3 * 20
    draw = paper_like(request.param)
    found = {budget: replay(draw, PLAN, budget, RUNS, 11) for budget in (None, 54, full)}
    return {budget: rows(request.param, "", outcomes) for budget, outcomes in found.items()}


def test_fewer_transfers_come_as_close(bench):
    """45 % of the grid's transfers: the paper's rule is within one level as often, but for 5 % of
    the worlds: seeds go where evidence is lacking, which that rule does not ask for. (Grid 0.65;
    0.75, search 0.65; 0.72. Over two other seeds the search is ahead by 0.05 to 0.23.)"""
    grid_row, search_row = bench[None][0], bench[54][0]
    assert (grid_row.transfers, grid_row.rule) == (120, "one-std")
    assert search_row.transfers <= 54 == 0.45 * 120
    assert search_row.within_one >= grid_row.within_one - 0.05


def test_equal_transfers_hit_more_often(bench):
    """By non-inferiority, and within the grid's budget: exact in 0.52; 0.70 where the grid is in
    0.08; 0.20, within a level in 0.62; 0.80."""
    grid_row, search_row = bench[None][1], bench[120][1]
    assert search_row.transfers <= 120
    assert search_row.exact >= 1.5 * grid_row.exact
    assert search_row.exact >= 0.45
    assert search_row.within_one >= 0.55


def test_intervals_cover(bench):
    for found in bench.values():
        assert found[1].covers >= 0.88
    # And say something: less of the ladder with more transfers, and with a search than a grid
    # (4.3; 2.3 levels, 8.9; 6.5 with fewer transfers, 10.7; 8.6 by the grid).
    assert bench[120][1].width < bench[54][1].width < bench[None][1].width
    assert bench[120][1].width < 4.5


def test_little_is_claimed_that_is_not_so():
    """Sparser than the truth in no more than 5 % of searches, however long they look: two standard
    errors of 100 worlds are room for chance. (0.01, and the truth itself in 0.76; by two other
    seeds 0, and 0.71 and 0.62.)"""
    endless = replay(paper_like("monotone"), PLAN, 10**9, 100, 5)
    assert fmean(found.shown > 0 for found in endless) <= 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5
    assert fmean(found.shown == 0 for found in endless) > 0.72
