"""Match, fail or open: bounds against scipy, rules by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.verdict.ladder import Looks
from analysis.verdict.noninferiority import Margin, interval, judge

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
    ("failing", "confidence"), [(1, 1 - 0.05 / 3), (2, 1 - 0.1 / 3), (3, 0.95)]
)
def test_the_border_of_matching_and_of_failing(failing, confidence):
    """All lower bounds at the full confidence (IUT); one upper bound at a third of the error rate,
    two at two thirds, three at all of it (Simes): a hair to either side of -margin tells."""
    error = 0.004 * (1 / 5 + 1 / 5) ** 0.5
    good = unpaired(exact(0.8, 0.004, 5), exact(0.9, 0.004, 5, seed=1))

    def outcome(difference):
        last = unpaired(exact(0.8, 0.004, 5), exact(0.8 + difference, 0.004, 5, seed=2))
        return judge([good] * (3 - failing) + [last] * failing, MARGIN).outcomes[1]

    match = -0.01 + stats.t.ppf(0.95, 8) * error
    assert (outcome(match + 1e-9), outcome(match - 1e-9)) == ("match", "open")
    fail = -0.01 - stats.t.ppf(confidence, 8) * error
    assert (outcome(fail - 1e-9), outcome(fail + 1e-9)) == ("fail", "open")


@pytest.mark.parametrize(("beside", "confidence"), [("M", 0.95), ("o", 0.96), ("f", 0.95)])
def test_the_front_has_the_whole_error_rate_only_where_the_sequence_arrives(beside, confidence):
    """Level 2 is the front: at 5 % if level 1 is shown to match or to fail, else at 4 %."""
    error = 0.004 * (1 / 5 + 1 / 5) ** 0.5
    below = {"M": 0.9, "o": 0.79, "f": 0.5}[beside]

    def outcome(difference):
        scores = unpaired(
            exact(0.8, 0.004, 5), exact(below, 0.004, 5, 1), exact(0.8 + difference, 0.004, 5, 2)
        )
        return judge([scores], MARGIN).outcomes[2]

    border = -0.01 + stats.t.ppf(confidence, 12) * error
    assert (outcome(border + 1e-9), outcome(border - 1e-9)) == ("match", "open")


def test_the_looks_of_a_search_spend_parts_of_the_error_rate():
    """Six seeds after three: the third look, 52 % of 5 % to match and an eighth of it to fail."""
    error = 0.004 * (1 / 6 + 1 / 6) ** 0.5

    def outcome(difference):
        scores = unpaired(exact(0.8, 0.004, 6), exact(0.8 + difference, 0.004, 6, 2))
        return judge([scores], MARGIN, looks=Looks(3)).outcomes[1]

    match = -0.01 + stats.t.ppf(1 - 0.52 * 0.05, 10) * error
    assert (outcome(match + 1e-9), outcome(match - 1e-9)) == ("match", "open")
    fail = -0.01 - stats.t.ppf(1 - 0.125 * 0.05, 10) * error
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
        ("doMf", 2, (), 2),  # the front alone can be the extreme level
        ("dMof", 1, (2,), None),
        ("doMo", 0, (1, 2, 3), None),  # what an open level is on both sides of is not said
        ("dMMo", 2, (3,), None),
        ("dMoMo", 1, (2, 3, 4), None),
        ("dfMo", 2, (3,), None),
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
                assert wider.clears[row] or wider.slack[:, row].min() > found.slack[:, row].min()
                assert found.likely >= row
            if surer.outcomes[row] == "fail":
                assert outcome == "fail"
    assert found.extreme <= found.likely
    assert all(row > found.extreme for row in found.open)
    low, high = interval(found)
    assert 0 <= low <= high < shape[0]
    # Estimates themselves are among what may well be true.
    assert low <= found.likely <= high
    # What is settled is settled for both.
    tested = [row for row in found.outcomes if row >= low]
    assert not all(found.freedom) or bool(found.open) == (
        max(tested, default=0) > low
        and high > low
        and any(found.outcomes[row] == "open" for row in tested)
    )


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("dMMff", (2, 2)),
        ("dMoff", (1, 2)),
        ("dMooo", (1, 4)),
        ("dofff", (0, 1)),
        ("dffff", (0, 0)),
        ("dMMMM", (4, 4)),
        ("doMoo", (0, 4)),
        ("doMff", (2, 2)),
        # Untested levels belong to it up to the next tested one.
        ("d-M---f", (2, 5)),
        ("d-f---f", (0, 1)),
        ("d-M--", (2, 4)),
        ("d---", (0, 3)),
        # A level that lacks a metric may be it.
        ("dMmf", (1, 2)),
    ],
)
def test_the_interval_is_what_the_tests_leave(levels, expected):
    assert interval(ladder(*levels)) == expected


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
