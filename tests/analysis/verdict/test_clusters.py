"""Several source seeds: the theta is the unit of replication. By hand, and by simulation."""

import numpy as np
import pytest

from analysis.verdict.clusters import clustered_differences, counting
from analysis.verdict.inference import differences
from analysis.verdict.noninferiority import Margin, judge

# Of three source seeds, two transfers each. Means: dense .90 .80 .70, level .89 .80 .68.
DENSE = [[0.91, 0.89], [0.82, 0.78], [0.70, 0.70]]
LEVEL = [[0.90, 0.88], [0.79, 0.81], [0.66, 0.70]]
SCORES = np.array([DENSE, LEVEL])


def test_means_of_source_seeds_are_compared_in_pairs():
    found = clustered_differences(SCORES)
    # Differences -.01, 0, -.02: variance 1e-4.
    assert found.value == pytest.approx([-0.01])
    assert found.error == pytest.approx([0.01 / 3**0.5])
    assert (found.freedom, list(found.levels)) == (2, [1])


def test_more_transfers_of_a_theta_bring_no_freedom():
    doubled = np.repeat(SCORES, 2, axis=2)
    found = clustered_differences(doubled)
    assert found.freedom == 2 and found.error == pytest.approx([0.01 / 3**0.5])


def test_a_source_seed_that_lacks_a_transfer_does_not_count():
    scores = np.array([DENSE, LEVEL, LEVEL])
    scores[1, 2, 0] = np.nan
    found = clustered_differences(scores)
    assert counting(scores).tolist() == [[True] * 3, [True, True, False], [True] * 3]
    assert found.value == pytest.approx([-0.005, -0.01])
    assert found.error == pytest.approx([0.01 / 2, 0.01 / 3**0.5])
    assert found.freedom == 1


def test_what_dense_lacks_counts_nowhere():
    scores = SCORES.copy()
    scores[0, 1, 1] = np.nan
    assert clustered_differences(scores).value == pytest.approx([-0.015])
    scores[0] = np.nan
    with pytest.raises(ValueError, match="no complete source seed"):
        clustered_differences(scores)


def test_one_complete_source_seed_has_a_value_and_no_error():
    scores = np.array([DENSE, LEVEL, LEVEL])
    scores[1, :2, 0] = np.nan
    found = clustered_differences(scores)
    assert found.value == pytest.approx([-0.02, -0.01])
    assert np.isnan(found.error).tolist() == [True, False] and found.freedom == 2
    assert judge([scores] * 3, Margin(0.2)).outcomes == {1: "open", 2: "match"}


def test_a_tie_is_as_wide_as_rounding_to_images():
    tied = np.full((2, 3, 2), 0.5)
    found = clustered_differences(tied, images=100)
    # Two means of two roundings each: 2 / (12 100^2 2), over three source seeds; p (1 - p) / N.
    assert found.of_seeds[0, 0] == pytest.approx(2 / 12 / 100**2 / 2 / 3)
    assert found.of_images[0, 0] == pytest.approx(2 * 0.25 / 100)


def seen(rng, sources, transfers, images, ticket=0.0, hard=2.0):
    """correct (2, C, T, N) of dense and a level that lose nothing to each other on the whole:
    images are hard for every network, and harder for a level; `ticket` scatters thetas' tickets."""
    difficulty = hard * rng.normal(size=images)
    own = np.stack([np.zeros(images), 0.7 * rng.normal(size=images)])
    luck = np.stack([np.zeros(sources), ticket * rng.normal(size=sources)])
    known = difficulty + own[:, None, None] + luck[:, :, None, None]
    return known + rng.normal(size=(2, sources, transfers, images)) > 0


def test_the_images_part_is_that_of_seeds_as_replicates():
    """With a transfer a theta and nothing between thetas, both ways estimate one thing."""
    correct = seen(np.random.default_rng(0), 6, 1, 20_000)
    clustered = clustered_differences(correct.mean(3), correct)
    pooled = differences(correct[:, :, 0].mean(2), correct[:, :, 0])
    assert clustered.of_images[0, 0] == pytest.approx(pooled.of_images[0, 0], rel=0.05)


def test_the_images_part_is_the_variance_over_draws_of_images():
    """What the mean difference does over 400 sets of images, with no luck of thetas in it."""
    rng = np.random.default_rng(1)
    draws = [seen(rng, 3, 2, 200) for _ in range(400)]
    found = [clustered_differences(correct.mean(3), correct) for correct in draws]
    values = np.array([one.value[0] for one in found])
    parts = np.mean([one.covariance[0, 0] for one in found])
    assert values.var(ddof=1) == pytest.approx(parts, rel=0.25)


def bounds_that_hold(ticket, pooled, runs=300):
    """How often both 95 % bounds hold the true difference of 0: 90 % wanted."""
    held = 0
    for run in range(runs):
        correct = seen(np.random.default_rng((run, 7)), 4, 3, 200, ticket)
        if pooled:
            correct = correct.reshape(2, 12, 200)
        scores = correct.mean(-1)
        margin = Margin(0.05)
        above = judge([scores], margin, [correct]).lower[0, 1] <= 0
        below = judge([scores[::-1]], margin, [correct[::-1]]).lower[0, 1] <= 0
        held += above and below
    return held / runs


def test_the_spread_between_thetas_is_covered_and_was_not_when_transfers_were_pooled():
    """Tickets' luck of about 4 points of accuracy between thetas, 4 thetas of 3 transfers."""
    error = (0.9 * 0.1 / 300) ** 0.5
    assert bounds_that_hold(0.3, pooled=False) >= 0.9 - 2 * error
    assert bounds_that_hold(0.3, pooled=True) < 0.88 - 2 * error
