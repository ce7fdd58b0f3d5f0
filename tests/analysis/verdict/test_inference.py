"""Differences to the dense network and their errors, against closed forms and against chance."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.verdict.inference import differences

NAN = float("nan")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0.8, 0.01, shape)


def with_holes(shape, share, seed):
    """Scores of which a share is not there; dense keeps its first."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.8, 0.01, shape) + rng.normal(0, 0.01, shape[1])
    scores[rng.random(shape) < share] = NAN
    scores[0, 0] = 0.8
    return scores


@pytest.mark.parametrize("seeds", [5, 8, 30])
def test_two_complete_levels_are_the_paired_t_statistic(seeds):
    dense, ticket = scores = noise(2, seeds) + noise(seeds, seed=1)
    found = differences(scores)
    outside = stats.ttest_rel(ticket, dense)
    assert found.value[0] == pytest.approx((ticket - dense).mean(), abs=1e-15)
    assert found.value[0] / found.error[0] == pytest.approx(outside.statistic, rel=1e-9)
    assert found.freedom == outside.df == seeds - 1


def test_pairing_counts_for_nothing_where_seeds_repel():
    """A negative correlation leaves no variance to the seeds; the paired error stays exact."""
    dense = noise(8)
    scores = np.array([dense, 1.6 - dense + noise(8, seed=1) / 100])
    found = differences(scores)
    assert found.value[0] / found.error[0] == pytest.approx(
        stats.ttest_rel(scores[1], scores[0]).statistic, rel=1e-9
    )


def test_a_complete_ladder_is_a_two_way_layout():
    """Every pair differs with variance 2 x residual mean square / seeds; dense is shared."""
    levels, seeds = 5, 6
    scores = noise(levels, seeds) + noise(seeds, seed=1)
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    square = (rest**2).sum() / ((levels - 1) * (seeds - 1))
    found = differences(scores)
    assert found.freedom == (levels - 1) * (seeds - 1)
    expected = square / seeds * (np.eye(levels - 1) + 1)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9)
    assert list(found.levels) == [1, 2, 3, 4]


@pytest.mark.parametrize(("dense", "ticket"), [(2, 2), (6, 3), (3, 6), (1, 4), (5, 1)])
def test_levels_without_a_common_seed_are_the_two_sample_t_statistic(dense, ticket):
    values = noise(dense + ticket)
    scores = np.full((2, dense + ticket), NAN)
    scores[0, :dense], scores[1, dense:] = values[:dense], values[dense:]
    found = differences(scores)
    outside = stats.ttest_ind(values[dense:], values[:dense])
    assert found.freedom == outside.df == dense + ticket - 2
    assert found.value[0] / found.error[0] == pytest.approx(outside.statistic, rel=1e-9)


def test_few_pairs_count_as_unpaired():
    scores = noise(2, 4)
    found = differences(scores)
    assert found.freedom == 6  # three degrees of freedom of four pairs say too little
    outside = stats.ttest_ind(scores[1], scores[0])
    assert found.value[0] / found.error[0] == pytest.approx(outside.statistic, rel=1e-9)


def by_dummies(scores):
    """The same from the design matrices, as a textbook writes them: (values, covariance, df)."""
    there = ~np.isnan(scores)
    rows = np.flatnonzero(there.any(1))
    level, seed = np.nonzero(there[rows])
    y = scores[rows][level, seed]
    x = np.eye(len(rows))[level]
    z = np.eye(scores.shape[1])[seed]

    def left(design):
        residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        return residual @ residual, len(y) - np.linalg.matrix_rank(design)

    (within, loose), (rest, paired) = left(x), left(np.hstack([x, z]))
    total = within / loose
    of_rest, of_seed, freedom = total, 0.0, loose
    if paired >= 4:
        of_rest, freedom = rest / paired, paired
        of_seed = max(0.0, total - of_rest)
    inverse = np.linalg.inv(of_rest * np.eye(len(y)) + of_seed * z @ z.T)
    covariance = np.linalg.inv(x.T @ inverse @ x)
    contrast = np.hstack([-np.ones((len(rows) - 1, 1)), np.eye(len(rows) - 1)])
    values = contrast @ covariance @ x.T @ inverse @ y
    return values, contrast @ covariance @ contrast.T, freedom


@settings(deadline=None)
@given(st.tuples(st.integers(2, 7), st.integers(2, 9)), st.floats(0, 0.8), st.integers(0, 10**6))
def test_any_design_is_generalised_least_squares(shape, share, seed):
    scores = with_holes(shape, share, seed)
    there = ~np.isnan(scores)
    assume((there.sum(1) > 1).any() and there[1:].any())
    found = differences(scores)
    values, covariance, freedom = by_dummies(scores)
    assert found.freedom == freedom
    np.testing.assert_allclose(found.value, values, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-5, atol=1e-12)
    assert (found.of_images == 0).all()


@settings(deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_levels_says_nothing(seed, random):
    scores = with_holes((5, 8), 0.4, seed)
    assume((~np.isnan(scores)).sum(1).max() > 1)
    levels, seeds = [1, 2, 3, 4], list(range(8))
    random.shuffle(levels)
    random.shuffle(seeds)
    found, moved = differences(scores), differences(scores[np.ix_([0, *levels], seeds)])
    names = [levels[row - 1] for row in moved.levels]
    back = np.argsort(names)
    assert sorted(names) == list(found.levels)
    np.testing.assert_allclose(moved.value[back], found.value, atol=1e-9)
    np.testing.assert_allclose(moved.error[back], found.error, atol=1e-9)


def test_untested_levels_and_unused_seeds_are_left_out():
    scores = np.full((6, 9), NAN)
    scores[[0, 2, 5], :5] = noise(3, 5)
    found = differences(scores)
    assert list(found.levels) == [2, 5]
    dense = differences(scores[[0, 2, 5], :5])
    np.testing.assert_allclose(found.covariance, dense.covariance)


def test_a_level_without_any_seed_in_common_is_still_compared():
    """Dense and levels 1, 2 share seeds, level 3 has its own: its error holds the seeds' share."""
    scores = np.full((4, 10), NAN)
    scores[:3, :5] = noise(3, 5) + 3 * noise(5, seed=1)
    scores[3, 5:] = noise(5, seed=2) + 3 * noise(5, seed=3)
    found = differences(scores)
    assert found.error[2] > 2 * found.error[0]
    assert np.isfinite(found.covariance).all()


def test_one_seed_each_says_nothing_of_the_error():
    found = differences(noise(3, 1))
    assert found.freedom == 0
    assert np.isnan(found.error).all() and np.isnan(found.of_images).all()
    assert np.isfinite(found.value).all()


def test_dense_alone_has_no_differences():
    found = differences(np.vstack([noise(1, 5), np.full((2, 5), NAN)]))
    assert len(found.levels) == len(found.value) == 0 and found.covariance.shape == (0, 0)
    correct = np.ones((3, 5, 20), bool)
    assert len(differences(np.vstack([noise(1, 5), np.full((2, 5), NAN)]), correct).levels) == 0


def test_without_dense_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match="dense network has no score"):
        differences(np.array([[NAN, NAN], [0.5, 0.5]]))


def test_perfect_pairs_have_no_error():
    """All of the variance is the seeds': equal differences are exact, whatever the seeds do."""
    dense = noise(6)
    found = differences(np.array([dense, dense - 0.02, dense]))
    assert found.value == pytest.approx([-0.02, 0.0], abs=1e-8)
    assert found.error == pytest.approx([0, 0], abs=1e-6)


def test_equal_scores_are_known_to_the_step_of_an_image():
    """Without records there is no error; with them that of rounding to 1 / 100: 1 / 12 of its
    square as variance of a score."""
    bare = differences(np.ones((3, 4)))
    assert list(bare.value) == [0, 0] and list(bare.error) == [0, 0]
    found = differences(np.ones((3, 4)), np.ones((3, 4, 100), bool))
    assert list(found.value) == [0, 0]
    assert found.error == pytest.approx([0.01 / 12**0.5 * (2 / 4) ** 0.5] * 2)


# Images: a transfer gets image n right with probability p[level, n], seeds scatter around it.


def test_the_images_part_by_hand():
    """One level, five seeds that all agree: McNemar's counts on four images.

    Level minus dense is +1, 0, 0, -1 by image: variance over images 2/3, of their mean 2/3 / 4.
    """
    dense, ticket = np.array([0, 1, 1, 1], bool), np.array([1, 1, 1, 0], bool)
    correct = np.stack([np.tile(dense, (5, 1)), np.tile(ticket, (5, 1))])
    found = differences(correct.mean(2), correct)
    assert found.of_images[0, 0] == pytest.approx(2 / 3 / 4)
    assert found.error[0] ** 2 == pytest.approx(2 / 3 / 4 + (1 / 4) ** 2 / 12 * 2 / 5)
    assert found.value[0] == pytest.approx(0, abs=1e-12)


def test_rows_of_absent_transfers_are_ignored():
    scores = noise(3, 6)
    scores[1, 4:] = NAN
    correct = np.random.default_rng(1).random((3, 6, 50)) < 0.8
    other = correct.copy()
    other[1, 4:] = ~other[1, 4:]
    first, second = differences(scores, correct), differences(scores, other)
    np.testing.assert_array_equal(first.covariance, second.covariance)
    assert (first.of_images > 0).any()


def crossed(rng, levels, seeds, images):
    """(L, S, N) of a crossed random model on the logistic scale: images and levels-by-images
    matter, seeds shift all of a transfer, the rest is chance."""
    image = rng.normal(1.5, 2, images)
    by_level = rng.normal(0, 0.7, (levels, 1, images))
    shift = rng.normal(0, 0.15, (1, seeds, 1)) + rng.normal(0, 0.1, (levels, seeds, 1))
    return rng.random((levels, seeds, images)) < 1 / (1 + np.exp(-(image + by_level + shift)))


@pytest.mark.parametrize("lacking", [False, True], ids=["complete", "incomplete"])
def test_seeds_and_images_against_monte_carlo(lacking):
    """The mean estimated covariance is that of the estimates over fresh seeds and fresh images.

    1000 studies: the variance of a difference is known to 1000 ** -0.5 * 2 ** 0.5 = 4.5 %.
    """
    rng = np.random.default_rng(5)
    absent = np.zeros((3, 6), bool)
    if lacking:
        absent[1, 3:] = absent[2, :2] = absent[0, 5] = True
    values, covariances, images = [], [], []
    for _ in range(1000):
        correct = crossed(rng, 3, 6, 150)
        scores = np.where(absent, NAN, correct.mean(2))
        found = differences(scores, correct)
        values.append(found.value)
        covariances.append(found.covariance)
        images.append(np.diag(found.of_images))
    true = np.cov(np.array(values).T)
    estimate = np.mean(covariances, 0)
    np.testing.assert_allclose(np.diag(estimate), np.diag(true), rtol=0.14)
    assert estimate[0, 1] == pytest.approx(true[0, 1], rel=0.2)
    # A part that matters, or the test would not see it missing.
    assert (np.mean(images, 0) > 0.18 * np.diag(true)).all()


def test_lower_bounds_hold_as_often_as_they_say():
    """95 % one-sided bounds on a true difference of nothing, over seeds that matter."""
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(2000):
        scores = rng.normal(0, 1, (4, 5)) + 2 * rng.normal(0, 1, 5)
        scores[2, 3:] = NAN
        found = differences(scores)
        bound = found.value[1] - stats.t.ppf(0.95, found.freedom) * found.error[1]
        held += bound < 0
    assert 0.93 < held / 2000 < 0.985


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_ties_of_few_seeds_on_few_images_do_not_pass_for_certainty(seeds):
    """200 images, so scores are steps of half a point, about a seed's standard deviation: two seeds
    of dense often tie. The truth is no difference; a bound above nothing is wrong."""
    rng = np.random.default_rng(7)
    wrong = tries = 0
    for _ in range(2000):
        scores = np.round(200 * rng.normal(0.8, 0.005, (3, max(seeds, 2)))) / 200
        scores[1:, seeds:] = NAN
        correct = np.arange(200) < 200 * scores[..., None]
        found = differences(scores, correct)
        error = np.sqrt(np.diag(found.of_seeds))
        wrong += (found.value - stats.t.ppf(0.95, found.freedom) * error > 0).sum()
        tries += 2
    assert wrong / tries < 0.06
