"""The search for the extreme level: what it asks for, whatever it is told, and when it ends."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.verdict.noninferiority import Margin
from analysis.verdict.one_std import METRICS
from tuner.scheduling.adaptive import REGIMES, Cell, LevelSearch, Result, SearchPlan

PLAN = SearchPlan(
    levels=tuple(range(1, 20)), seeds=tuple(range(30)), first=3, budget=60, margin=Margin(0.01)
)
SPREAD = 0.004


def scores(cell, curve, spread=SPREAD, noise=0):
    """A cell's scores: what level loses by `curve`, and noise of its own by seed."""
    rng = np.random.default_rng((noise, cell.level, REGIMES.index(cell.regime), cell.seed))
    sa, ra = 0.9 - curve(cell.level) + spread * rng.standard_normal(2)
    return {"SA": sa, "RA": ra - 0.4}


def play(plan, outcome, order=list, told=()):
    """Runs a search to its end; gives it and its batches. `order`: of a batch's results."""
    search, batches = LevelSearch(plan), []
    for _ in range(10_000):
        batch = search.ask()
        if not batch:
            return search, batches
        assert len(set(batch)) == len(batch)
        batches.append(batch)
        for cell in order(batch):
            search.tell(cell, outcome(cell))
    raise AssertionError("the search does not end")


def knee(level, top=9, slope=0.01):
    return max(0.0, slope * (level - top))


def at(top, **changes):
    """A search's outcome on a curve that is flat up to a level and then falls by 2 points each."""
    return lambda cell: Result(scores(cell, lambda level: knee(level, top, 0.02), **changes))


def counts(cells, plan=PLAN):
    """(level, regime) -> number of seeds."""
    found = {(level, regime): 0 for level in (0, *plan.levels) for regime in REGIMES}
    for cell in cells:
        found[cell.level, cell.regime] += 1
    return found


def test_the_first_batch_is_dense_and_four_probes():
    batch = LevelSearch(PLAN).ask()
    found = {key: n for key, n in counts(batch).items() if n}
    assert found == {
        **{(0, regime): 3 for regime in REGIMES},
        **{(level, regime): 1 for level in (5, 10, 15, 19) for regime in REGIMES},
    }
    assert {cell.seed for cell in batch if cell.level == 0} == {0, 1, 2}
    assert {cell.seed for cell in batch if cell.level} == {0}


@pytest.mark.parametrize("extreme", [1, 2, 5, 9, 10, 14, 17, 18])
def test_the_boundary_is_found_confirmed_and_both_neighbours_probed(extreme):
    search, batches = play(PLAN, at(extreme, spread=0.001))
    finding = search.finding()
    assert (finding.extreme, finding.open) == (extreme, ())
    tested = {cell.level for cell in search.asked}
    wanted = {extreme - 1, extreme, extreme + 1, extreme + 2} & set(range(20))
    assert wanted <= tested
    assert len(tested) < 11
    assert len(search.asked) == sum(map(len, batches)) <= 40


def test_all_levels_match():
    search, _ = play(PLAN, at(25, spread=0.001))
    finding = search.finding()
    assert (finding.extreme, finding.open) == (19, ())
    assert {cell.level for cell in search.asked} == {0, 5, 10, 15, 18, 19}


def test_no_level_matches():
    search, _ = play(PLAN, lambda cell: Result(scores(cell, lambda level: 0.2 * (level > 0))))
    finding = search.finding()
    assert (finding.extreme, finding.open, finding.likely) == (0, (), 0)
    assert set(finding.outcomes.values()) == {"fail"}
    assert {1, 2} <= set(finding.outcomes)


def test_a_hump_is_climbed():
    """RA is too low at levels 1 to 7, fine at 8 to 12, and then falls."""

    def outcome(cell):
        level = cell.level
        found = scores(cell, lambda k: knee(k, 12, 0.03), spread=0.001)
        return Result({**found, "RA": found["RA"] - 0.05 * (0 < level < 8)})

    search, _ = play(PLAN, outcome)
    assert search.finding().extreme == 12


@pytest.mark.parametrize("levels", [(7,), (2, 3), (1, 4, 6, 12), (3, 10, 11, 19, 25)])
def test_ladders_with_gaps(levels):
    plan = replace(PLAN, levels=levels)
    for extreme in (0, *levels):
        search, _ = play(plan, at(extreme, spread=0.001))
        assert search.finding().extreme == (0, *levels).index(extreme)
        assert {cell.level for cell in search.asked} <= {0, *levels}


def test_seeds_follow_the_plans_order():
    plan = replace(PLAN, seeds=(7, 3, 100, 101, 102, 103), first=2)
    search, batches = play(plan, at(9))
    assert {cell.seed for cell in batches[0] if cell.level == 0} == {7, 3}
    for level, regime in {(cell.level, cell.regime) for cell in search.asked}:
        used = [s for s in plan.seeds if Cell(level, regime, s) in search.asked]
        assert used == list(plan.seeds[: len(used)])


def test_further_seeds_go_to_the_regime_in_doubt():
    """Standard training is clear at every level up to 12; RA is close to the margin at 9."""

    def outcome(cell):
        if cell.regime == "standard":
            return Result(scores(cell, lambda level: 0.0, spread=0.0005))
        return Result(scores(cell, lambda level: 0.007 if 0 < level <= 9 else 0.04 * (level > 9)))

    search, _ = play(PLAN, outcome)
    found = counts(search.asked)
    assert found[9, "adversarial"] > 2 * found[9, "standard"]
    assert found[0, "adversarial"] >= found[9, "adversarial"]


def test_what_no_seed_can_settle_ends_the_search():
    """Level 1 loses nothing by its scores, but the test images say too little to be sure."""
    rng = np.random.default_rng(0)
    right = {0: rng.random(60) < 0.7, 1: rng.random(60) < 0.7}
    shift = right[0].mean() - right[1].mean()

    def outcome(cell):
        bits = right[cell.level] ^ (rng.random(60) < 0.01)
        score = {"SA": bits.mean() + shift * cell.level, "RA": bits.mean() + shift * cell.level}
        return Result(score, {"SA": bits, "RA": bits})

    plan = replace(PLAN, levels=(1,), budget=10**9)
    search, _ = play(plan, outcome)
    assert search.finding().open == (1,)
    assert len(search.asked) < 20


# What holds of every search.

cases = st.fixed_dictionaries(
    {
        "levels": st.sets(st.integers(1, 20), min_size=1, max_size=19).map(sorted).map(tuple),
        "first": st.integers(1, 5),
        "most": st.integers(5, 12),
        "budget": st.integers(10, 120) | st.just(10**9),
        "top": st.floats(0, 22),
        "slope": st.floats(0.001, 0.1),
        "hump": st.floats(-0.03, 0.03),
        "noise": st.integers(0, 10**6),
        "spread": st.sampled_from([0.0, 0.002, 0.02]),
        "failing": st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]),
    }
)


def case(levels, first, most, budget, top, slope, hump, noise, spread, failing):
    """A plan, and the outcome of its cells: any curve, some without a result."""
    plan = SearchPlan(levels, tuple(range(most)), first, budget, Margin(0.01))

    def curve(level):
        return knee(level, top, slope) + (hump if level % 3 else 0.0) * (level > 0)

    def outcome(cell):
        luck = np.random.default_rng((noise, 1, *cell_numbers(cell))).random()
        return None if luck < failing else Result(scores(cell, curve, spread, noise))

    return plan, outcome


def cell_numbers(cell):
    return cell.level, REGIMES.index(cell.regime), cell.seed


@settings(deadline=None, max_examples=60)
@given(cases, st.randoms(use_true_random=False))
def test_every_search_ends_within_its_budget_and_its_seeds(chosen, random):
    plan, outcome = case(**chosen)

    def shuffled(batch):
        return random.sample(batch, len(batch))

    search, batches = play(plan, outcome, shuffled)
    assert len(search.asked) <= plan.budget
    allowed = {Cell(k, r, s) for k in (0, *plan.levels) for r in REGIMES for s in plan.seeds}
    assert search.asked <= allowed
    assert search.results.keys() == search.asked
    # Who finishes first does not matter.
    assert play(plan, outcome)[1] == batches
    assert search.ask() == []


@settings(deadline=None, max_examples=60)
@given(cases, st.data())
def test_a_search_told_its_finished_transfers_again_goes_on_where_it_was(chosen, data):
    """Interrupted anywhere, inside a batch too: finished cells are told, the others asked again."""
    plan, outcome = case(**chosen)
    _, batches = play(plan, outcome)
    flat = [cell for batch in batches for cell in batch]
    finished = set(flat[: data.draw(st.integers(0, len(flat)))])
    again, new = LevelSearch(plan), []
    while batch := again.ask():
        new += [cell for cell in batch if cell not in finished]
        for cell in batch:
            again.tell(cell, outcome(cell))
    assert again.asked == set(flat)
    assert new == [cell for cell in flat if cell not in finished]


@settings(deadline=None, max_examples=60)
@given(cases)
def test_dense_has_as_many_seeds_as_any_level(chosen):
    plan, outcome = case(**chosen)
    _, batches = play(plan, outcome)
    asked = []
    for batch in batches:
        asked += batch
        found = counts(asked, plan)
        for (_, regime), number in found.items():
            assert number <= found[0, regime]


def test_a_failed_dense_network_ends_the_search():
    search, batches = play(PLAN, lambda cell: None if cell.level == 0 else at(9)(cell))
    assert len(batches) == 1 and search.finding() is None


@pytest.mark.parametrize("broken", [10, 12, 9, 15])
def test_a_level_that_cannot_be_trained_is_gone_around(broken):
    """Its ticket may be missing. The search spends little on it, and ends beside it."""
    search, _ = play(PLAN, lambda cell: None if cell.level == broken else at(9, spread=0.001)(cell))
    assert sum(cell.level == broken for cell in search.asked) <= 2 * len(REGIMES)
    assert search.finding().extreme == (8 if broken == 9 else 9)


@pytest.mark.parametrize("regime", REGIMES)
def test_a_level_that_fails_under_one_regime_is_given_up(regime):
    def outcome(cell):
        return None if cell[:2] == (9, regime) else at(9, spread=0.001)(cell)

    search, _ = play(replace(PLAN, budget=10**9), outcome)
    assert counts(search.asked)[9, regime] <= 3
    assert search.finding().extreme == 8


def test_a_regime_that_fails_once_is_tried_with_another_seed():
    lost = Cell(9, "adversarial", 0)
    search, _ = play(PLAN, lambda cell: None if cell == lost else at(9, spread=0.001)(cell))
    assert search.finding().extreme == 9


def test_one_seed_of_dense_is_not_enough_to_end():
    search, _ = play(replace(PLAN, first=1), at(9, spread=0.001))
    finding = search.finding()
    assert all(finding.freedom) and finding.extreme == 9
    assert counts(search.asked)[0, "standard"] > 1


def test_scores_that_tie_are_settled_with_the_first_batches():
    """SA and RA 1.0 whatever is trained."""
    search, _ = play(PLAN, lambda cell: Result({"SA": 1.0, "RA": 1.0}))
    assert search.finding().extreme == 19
    assert len(search.asked) < 20


def test_where_a_record_is_missing_the_images_part_is_a_bound():
    rng = np.random.default_rng(0)
    of_level = {(level, r): rng.random(200) < 0.8 for level in range(20) for r in REGIMES}
    bits = {c: of_level[c[:2]] ^ (rng.random(200) < 0.02) for c in LevelSearch(PLAN).ask()}

    def finding(without=None):
        search = LevelSearch(PLAN)
        for cell in search.ask():
            score = {"SA": bits[cell].mean(), "RA": bits[cell].mean()}
            correct = {"SA": bits[cell], "RA": bits[cell]}
            search.tell(cell, Result(score, None if cell == without else correct))
        return search.finding()

    whole, partly = finding(), finding(without=Cell(0, "standard", 1))
    assert (np.nan_to_num(whole.of_images) > 0).any(1).all()
    for m, metric in enumerate(METRICS):
        if metric.regime == "adversarial":
            np.testing.assert_array_equal(partly.of_images[m], whole.of_images[m])
        else:
            dense, level = (bits[Cell(k, "standard", 0)].mean() for k in (0, 5))
            dense = np.mean([bits[Cell(0, "standard", seed)].mean() for seed in range(3)])
            expected = (dense * (1 - dense) + level * (1 - level)) / 200
            assert partly.of_images[m, 5] == pytest.approx(expected, rel=0.01)
            assert expected > whole.of_images[m, 5]


def test_a_score_that_was_not_measured_is_no_score():
    search = LevelSearch(PLAN)
    for cell in search.ask():
        search.tell(cell, Result({"SA": 0.9, "RA": None if cell.level else 0.5}))
    assert set(search.finding().outcomes.values()) == {"open"}
    assert search.finding().likely == 0
