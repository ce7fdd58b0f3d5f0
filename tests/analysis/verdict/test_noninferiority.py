"""Match, fail or open: bounds against scipy, rules by hand, promises by adding seeds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.verdict.inference import Differences
from analysis.verdict.noninferiority import Margin, interval, judge, seeds_to_settle

NAN = float("nan")
MARGIN = Margin(0.01, 0.95)


def exact(mean, spread, n, seed=0):
    """n scores with exactly this mean and sample standard deviation."""
    draw = np.random.default_rng(seed).standard_normal(n)
    return mean + spread * (draw - draw.mean()) / draw.std(ddof=1)


def unpaired(*levels):
    """(L, S) scores of levels that share no seed."""
    scores = np.full((len(levels), sum(map(len, levels))), NAN)
    start = 0
    for row, values in enumerate(levels):
        scores[row, start : start + len(values)] = values
        start += len(values)
    return scores


def test_bounds_are_students():
    """One metric, four unpaired seeds a level: standard error 0.01 x (1/4 + 1/4) ** 0.5, 6 df."""
    scores = unpaired(exact(0.8, 0.01, 4), exact(0.805, 0.01, 4, seed=1))
    found = judge([scores], MARGIN)
    error = 0.01 * 0.5**0.5
    assert found.value[0, 1] == pytest.approx(0.005)
    assert found.error[0, 1] == pytest.approx(error)
    assert found.lower[0, 1] == pytest.approx(0.005 - stats.t.ppf(0.95, 6) * error)
    assert found.freedom == (6,)
    assert np.isnan(found.lower[0, 0])


@pytest.mark.parametrize(
    ("metrics", "confidence"), [(1, 0.95), (3, 1 - 0.05 / 3)], ids=["one", "three"]
)
def test_the_border_of_matching_and_of_failing(metrics, confidence):
    """All of three lower bounds at the full confidence (IUT), one upper bound at a third of the
    error rate (Bonferroni): a hair to either side of -margin tells."""
    error = 0.004 * (1 / 5 + 1 / 5) ** 0.5
    good = unpaired(exact(0.8, 0.004, 5), exact(0.9, 0.004, 5, seed=1))

    def outcome(difference):
        last = unpaired(exact(0.8, 0.004, 5), exact(0.8 + difference, 0.004, 5, seed=2))
        return judge([good] * (metrics - 1) + [last], MARGIN).outcomes[1]

    match = -0.01 + stats.t.ppf(0.95, 8) * error
    assert (outcome(match + 1e-9), outcome(match - 1e-9)) == ("match", "open")
    fail = -0.01 - stats.t.ppf(confidence, 8) * error
    assert (outcome(fail - 1e-9), outcome(fail + 1e-9)) == ("fail", "open")


def ladder(*levels):
    """Findings of levels given by outcome: clear scores in three metrics; o is too close to tell,
    - is untested, and m (missing) lacks the third metric."""
    means = {"d": 0.9, "M": 0.9, "f": 0.8, "o": 0.89, "m": 0.9}
    rows = [
        exact(means.get(kind, NAN), 0.001, 6, seed=number) for number, kind in enumerate(levels)
    ]
    scores = np.array(rows)
    third = scores.copy()
    third[[kind == "m" for kind in levels]] = NAN
    return judge([scores, scores, third], MARGIN)


@pytest.mark.parametrize(
    ("levels", "extreme", "still_open", "likely"),
    [
        ("dMMff", 2, (), 2),
        ("dfMf", 2, (), 2),  # a hump: what lies below does not matter
        ("doMf", 2, (), 2),
        ("dMof", 1, (2,), None),
        ("dff", 0, (), 0),
        ("dMM", 2, (), 2),
        ("dM-f", 1, (), 1),
        ("d---", 0, (), 0),
        ("dMmf", 1, (2,), 1),
        ("dM", 1, (), 1),
        ("df", 0, (), 0),
    ],
)
def test_what_a_ladder_says(levels, extreme, still_open, likely):
    found = ladder(*levels)
    assert (found.extreme, found.open) == (extreme, still_open)
    assert likely is None or found.likely == likely
    assert set(found.outcomes) == {row for row, kind in enumerate(levels) if kind in "Mfom"}


def test_a_level_that_lacks_a_metric_can_fail_but_not_match():
    dense = exact(0.9, 0.001, 6)
    good, bad = exact(0.9, 0.001, 6, seed=1), exact(0.5, 0.001, 6, seed=1)
    without = np.array([dense, np.full(6, NAN)])
    whole = np.array([dense, good])
    assert judge([whole, whole, without], MARGIN).outcomes == {1: "open"}
    assert judge([whole, np.array([dense, bad]), without], MARGIN).outcomes == {1: "fail"}


def test_dense_without_a_metric_is_refused():
    scores = np.array([[NAN, NAN], [0.9, 0.9]])
    with pytest.raises(ValueError, match="dense network has no score"):
        judge([scores], MARGIN)


def test_one_seed_shows_nothing():
    found = judge([np.array([[0.9], [0.9], [0.1]])] * 3, MARGIN)
    assert found.outcomes == {1: "open", 2: "open"}
    assert (found.extreme, found.likely, found.freedom) == (0, 1, (0, 0, 0))
    assert interval(found) == (0, 2)
    assert seeds_to_settle(found, 1) == seeds_to_settle(found, 2) == 1


def test_scores_without_any_spread_are_taken_at_their_word():
    found = judge([np.array([[1.0] * 3, [1.0] * 3, [0.98] * 3])] * 3, MARGIN)
    assert found.outcomes == {1: "match", 2: "fail"}
    assert interval(found) == (1, 1)


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(2, 5), st.integers(2, 6)),
    st.floats(0, 0.7),
    st.floats(0.002, 0.05),
)
def test_what_is_always_true_of_a_finding(seed, shape, share, size):
    rng = np.random.default_rng(seed)
    scores = [rng.normal(0.9, 0.01, shape) - 0.01 * np.arange(shape[0])[:, None] for _ in range(3)]
    for metric in scores:
        metric[rng.random(shape) < share] = NAN
        metric[0, 0] = 0.9
    found = judge(scores, Margin(size))
    if all(found.freedom):
        wider = judge(scores, Margin(size * 2))
        surer = judge(scores, Margin(size, 0.99))
        for row, outcome in found.outcomes.items():
            if outcome == "match":
                assert wider.outcomes[row] == "match" and found.likely >= row
            if surer.outcomes[row] != "open":
                assert outcome == surer.outcomes[row]
    assert found.extreme <= found.likely
    assert all(row > found.extreme for row in found.open)
    low, high = interval(found)
    assert 0 <= low <= high < shape[0]
    # Estimates themselves are among what may well be true.
    assert low <= found.likely <= high
    assert interval(found) == (low, high)


# The interval's percentiles, on findings made by hand.


def by_hand(values, errors, rows, freedom=10**9):
    """A finding of one metric with independent errors; rows are those of its levels."""
    found = judge([np.array([[0.9, 0.9], *[[0.9, 0.9]] * max(rows)])], MARGIN)
    metric = Differences(
        np.array(rows),
        np.array(values),
        np.diag(np.array(errors) ** 2),
        np.zeros((len(rows), len(rows))),
        freedom,
    )
    value = np.full((1, max(rows) + 1), NAN)
    value[0, rows] = values
    return replace(found, value=value, freedom=(freedom,), metrics=(metric,))


def chance(of_passing):
    """An estimate with error 0.001 whose redrawn value passes with this chance."""
    return -0.01 + 0.001 * stats.norm.ppf(of_passing)


@pytest.mark.parametrize(
    ("passing", "expected"),
    [
        # Chances of the largest passing level: P(3) = .5, P(2) = .5 x .5, P(1) = .25 x .9 ...
        ([0.9, 0.5, 0.5], (1, 3)),
        # P(3) = 2 % lies beyond the 95th percentile, P(2) = .98 x .3.
        ([0.999, 0.3, 0.02], (1, 2)),
        # P(3) = 10 % does not.
        ([0.999, 0.3, 0.10], (1, 3)),
        # P(0) = .5 x .2 = 10 %: the 5th percentile is dense.
        ([0.5, 0.8, 0.001], (0, 2)),
        ([0.001, 0.001, 0.999], (3, 3)),
    ],
)
def test_percentiles_of_the_extreme(passing, expected):
    found = by_hand([chance(p) for p in passing], [0.001] * 3, [1, 2, 3])
    assert interval(found, 0.9) == expected
    assert interval(found, 0.9, seed=1) == expected


def test_a_smaller_coverage_is_a_narrower_interval():
    # P(3) = 10 %, P(2) = 27 %, P(1) = 63 %
    found = by_hand([chance(0.9999), chance(0.3), chance(0.1)], [0.001] * 3, [1, 2, 3])
    assert interval(found, 0.9) == (1, 3)
    assert interval(found, 0.6) == (1, 2)
    assert interval(found, 0.1) == (1, 1)


def test_untested_levels_are_within_the_interval_up_to_the_next_tested():
    clear = by_hand([0.0, -0.1], [0.001] * 2, [2, 6])
    assert interval(clear) == (2, 5)
    top = by_hand([0.0, 0.0], [0.001] * 2, [2, 6])
    assert interval(top) == (6, 6)
    none = by_hand([-0.1, -0.1], [0.001] * 2, [2, 6])
    assert interval(none) == (0, 1)


def test_few_degrees_of_freedom_widen_the_interval():
    # 2.5 errors from the margin: passes in 0.6 % of normal draws, in 12 % with one degree.
    values = [0.0, -0.01 - 0.0025]
    assert interval(by_hand(values, [0.001] * 2, [1, 2])) == (1, 1)
    assert interval(by_hand(values, [0.001] * 2, [1, 2], freedom=1)) == (1, 2)


# How many seeds settle it.


def settled_by_adding(difference, spread, dense, level, metrics=1):
    """The number promised, and the outcomes with one seed less and with all of it, where added
    seeds leave means and variances as they were."""

    def outcome(more):
        scores = unpaired(
            exact(0.8, spread, dense + more), exact(0.8 + difference, spread, level + more, 1)
        )
        return judge([scores] * metrics, MARGIN)

    found = outcome(0)
    assume(found.outcomes[1] == "open")
    more = seeds_to_settle(found, 1)
    assert more is not None
    return more, outcome(more).outcomes[1]


@settings(deadline=None, max_examples=200)
@given(
    st.floats(-0.03, 0.01),
    st.floats(0.001, 0.03),
    st.integers(2, 12),
    st.integers(2, 12),
    st.integers(1, 3),
)
def test_the_promised_seeds_settle_it(difference, spread, dense, level, metrics):
    assume(abs(difference + 0.01) > 0.0005)
    more, outcome = settled_by_adding(difference, spread, dense, level, metrics)
    assert more >= 1
    assert outcome == ("match" if difference > -0.01 else "fail")


@pytest.mark.parametrize(("dense", "level"), [(4, 4), (10, 3), (3, 10), (30, 2)])
def test_no_more_seeds_are_promised_than_it_takes(dense, level):
    """One seed less leaves it open, where every seed brings a degree of freedom."""
    spread, difference = 0.01, -0.0045
    scores = unpaired(exact(0.8, spread, dense), exact(0.8 + difference, spread, level, 1))
    found = judge([scores], MARGIN)

    def clears(more):
        quantile = stats.t.ppf(0.95, dense + level - 2 + more)
        error = spread * (1 / (dense + more) + 1 / (level + more)) ** 0.5
        return difference - quantile * error > -0.01

    more = seeds_to_settle(found, 1)
    assert clears(more) and not clears(more - 1)


def test_promises_hold_for_pairs():
    """Complete pairs, differences of exactly -0.004 with deviation 0.01."""

    def found(n):
        dense = np.random.default_rng(0).normal(0.8, 0.02, n)
        return judge([np.array([dense, dense + exact(-0.004, 0.01, n, 1)])], MARGIN)

    now = found(6)
    assert now.outcomes == {1: "open"}
    more = seeds_to_settle(now, 1)
    assert found(6 + more).outcomes == {1: "match"}


def test_images_that_leave_more_doubt_than_distance_cannot_be_settled_by_seeds():
    rng = np.random.default_rng(0)
    image = rng.random((2, 1, 100)) < 0.8
    correct = np.repeat(image, 6, axis=1) ^ (rng.random((2, 6, 100)) < 0.02)
    scores = correct.mean(2)
    found = judge([scores], MARGIN, [correct])
    assert found.outcomes == {1: "open"}
    assert found.of_images[0, 1] ** 0.5 > 0.03
    assert seeds_to_settle(found, 1) is None
    assert isinstance(seeds_to_settle(judge([scores], MARGIN), 1), int)


def image_bound(spread):
    """Five complete pairs whose images matter: a difference and bounds from both parts."""
    rng = np.random.default_rng(2)
    image = rng.random((2, 1, 300)) < 0.8
    correct = np.repeat(image, 5, axis=1) ^ (rng.random((2, 5, 300)) < spread)
    return judge([correct.mean(2)], MARGIN, [correct]), correct


def test_seeds_take_students_quantile_and_images_the_normals():
    found, _ = image_bound(0.05)
    images = found.of_images[0, 1]
    seeds = found.error[0, 1] ** 2 - images
    assert images > 0 and seeds > 0 and found.freedom == (4,)
    reach = (stats.t.ppf(0.95, 4) ** 2 * seeds + stats.norm.ppf(0.95) ** 2 * images) ** 0.5
    assert found.lower[0, 1] == pytest.approx(found.value[0, 1] - reach)


def test_a_clear_loss_needs_no_certainty_of_the_seeds_variance():
    """Two seeds of dense and one of a level that loses 40 points on 300 images: with one degree of
    freedom Student's quantile alone is 19, and the images' error 3 points."""
    rng = np.random.default_rng(0)
    correct = np.zeros((2, 2, 300), bool)
    correct[0] = rng.random(300) < 0.9
    correct[1] = rng.random(300) < 0.5
    correct[0, 1, :2] ^= True
    scores = correct.mean(2)
    scores[1, 1] = NAN
    found = judge([scores] * 3, MARGIN, [correct] * 3)
    assert found.freedom == (1, 1, 1)
    assert found.outcomes == {1: "fail"}


def test_few_degrees_of_freedom_are_no_reason_to_give_up():
    """Seeds bring degrees of freedom too: with one, a match looks out of reach by today's
    quantile, though images leave little doubt."""
    rng = np.random.default_rng(10)
    image = rng.random(4000) < 0.9
    correct = np.stack([image, image])[:, None] ^ (rng.random((2, 2, 4000)) < 0.03)
    scores = correct.mean(2)
    scores[1, 1] = NAN
    found = judge([scores], MARGIN, [correct])
    assert found.freedom == (1,) and found.outcomes == {1: "open"}
    assert 1 <= seeds_to_settle(found, 1) < 10


@pytest.mark.parametrize("off", [0.0, 1e-17, -1e-17, 1e-9])
def test_a_level_on_the_margin_is_never_settled(off):
    found = by_hand([-0.01 + off], [0.001], [1], freedom=3)
    found = replace(found, error=np.array([[NAN, 0.001]]), of_images=np.zeros((1, 2)))
    assert seeds_to_settle(found, 1) is None


def test_of_several_failing_metrics_the_easiest_decides():
    far = unpaired(exact(0.8, 0.02, 3), exact(0.77, 0.02, 3, 1))
    near = unpaired(exact(0.8, 0.02, 3), exact(0.785, 0.02, 3, 1))
    one = seeds_to_settle(judge([far] * 3, MARGIN), 1)
    assert seeds_to_settle(judge([near, near, far], MARGIN), 1) == one
    assert seeds_to_settle(judge([near] * 3, MARGIN), 1) > one


def test_of_matching_metrics_the_hardest_decides():
    easy = unpaired(exact(0.8, 0.02, 3), exact(0.81, 0.02, 3, 1))
    hard = unpaired(exact(0.8, 0.02, 3), exact(0.795, 0.02, 3, 1))
    one = seeds_to_settle(judge([hard] * 3, MARGIN), 1)
    assert seeds_to_settle(judge([easy, hard, easy], MARGIN), 1) == one
    assert seeds_to_settle(judge([easy] * 3, MARGIN), 1) < one


@pytest.mark.parametrize(("dense", "level"), [(2, 1), (3, 1), (5, 3)])
def test_bounds_are_wrong_no_more_often_than_they_say(dense, level):
    """Levels that lose nothing on average, over fresh seeds and fresh images, as a search meets
    them: 5 % of 1600 bounds and three standard errors for chance."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(800):
        image = rng.normal(1.5, 2, 200) + rng.normal(0, 0.7, (3, 1, 200))
        seed = rng.normal(0, 0.15, (1, dense, 1)) + rng.normal(0, 0.1, (3, dense, 1))
        correct = rng.random((3, dense, 200)) < 1 / (1 + np.exp(-(image + seed)))
        scores = correct.mean(2)
        scores[1:, level:] = NAN
        wrong += (judge([scores], MARGIN, [correct]).lower[0, 1:] > 0).sum()
    assert wrong / 1600 < 0.05 + 3 * (0.05 * 0.95 / 1600) ** 0.5
