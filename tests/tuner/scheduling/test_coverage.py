"""The benchmark of the verdicts: its worlds as described, and a sample of what it shows."""

import numpy as np
import pytest

from tuner.scheduling.adaptive import Cell
from tuner.scheduling.coverage import CURVES, Case, benchmark, losses, rates, simulate
from tuner.scheduling.image_worlds import BASE, Scatter, seen_through


@pytest.mark.parametrize("curve", CURVES)
def test_curves_lose_what_they_say(curve):
    found = losses(curve, 14, 0.01, np.random.default_rng(3)) / 0.01
    assert found.shape == (3, 15) and (found[:, 0] == 0).all()
    rest = found[:, 1:]
    if curve in ("identical", "below", "at margin"):
        assert (rest == {"identical": 0, "below": 0.8, "at margin": 1}[curve]).all()
    if curve in ("beyond", "step", "top"):
        assert set(np.unique(rest)) <= {0, 1.02} and (rest > 0).any(1).sum() == 1
    if curve == "humped":
        assert (rest[:2, 0] == 0).all() and rest[2, 0] == 2


def test_the_benchmark_holds_every_curve_under_every_policy():
    cases = list(benchmark())
    assert len(set(cases)) == len(cases)
    for policy in ("grid", "adaptive", "endless"):
        assert {case.curve for case in cases if case.policy == policy} == set(CURVES)
    assert {case.records for case in cases} == {True, False}


def test_scores_are_the_truth_over_images_and_seeds():
    """40,000 images and 40 seeds: accuracies within four standard errors of the truth, and their
    spread over seeds as stated."""
    draw = seen_through(lambda rng: np.zeros((3, 2)), 40_000, 40, Scatter(seed=0.05, rest=0.05))
    world = draw(np.random.default_rng(0))
    results = [world.result(Cell(0, "adversarial", seed)) for seed in range(40)]
    for metric, score in ((1, "SA"), (2, "RA")):
        values = np.array([result.scores[score] for result in results])
        error = np.hypot(world.spread[metric] / 40**0.5, (0.25 / 40_000) ** 0.5)
        assert abs(values.mean() - BASE[metric]) < 4 * error
        assert values.std(ddof=1) == pytest.approx(world.spread[metric], rel=0.35)


def test_a_cell_shows_the_same_whenever_it_is_asked():
    draw = seen_through(lambda rng: np.zeros((3, 3)), 100, 5)
    first, second = (draw(np.random.default_rng(1)) for _ in range(2))
    cells = [Cell(k, r, s) for k in (0, 2) for r in ("standard", "adversarial") for s in (0, 4)]
    shown = {cell: first.result(cell) for cell in cells}
    for cell in reversed(cells):
        again = second.result(cell)
        assert again.scores == shown[cell].scores
        assert all((again.correct[s] == shown[cell].correct[s]).all() for s in again.scores)
    other = draw(np.random.default_rng(2)).result(cells[0])
    assert (other.correct["SA"] != shown[cells[0]].correct["SA"]).any()


def test_a_statement_by_hand():
    """Steep and clear: nothing but the truth can be said."""
    found = simulate(Case("steep", levels=6, images=2000, margin=0.1), 0)
    assert (found.covers, found.wrong, found.decided, found.exact, found.width) == (
        *(True, False, True, True, 0),
    )
    assert found.transfers == 2 * 3 * 7


@pytest.mark.parametrize("policy", ["grid", "adaptive"])
@pytest.mark.parametrize("curve", ["beyond", "at margin"])
def test_hard_worlds_are_seldom_called_wrongly(curve, policy):
    """60 small studies: two standard errors of chance beside 88 % and 5 %. The whole benchmark is
    run by `simulate --coverage`."""
    found = rates(Case(curve, levels=6, images=100, margin=0.1, policy=policy), 60)
    assert found.covers >= 0.88 - 2 * (0.88 * 0.12 / 60) ** 0.5
    assert found.wrong <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


def test_a_thetas_transfers_share_its_luck_and_its_images():
    """Of two thetas with three transfers each, those of one are more alike than those of two."""
    scatter = Scatter(theta=0.5, ticket=0.5, seed=0.01, rest=0.01)
    draw = seen_through(lambda rng: np.zeros((3, 4)), 2000, 3, scatter, thetas=2)
    right = [
        draw(np.random.default_rng(0)).result(Cell(3, "adversarial", seed)).correct["RA"]
        for seed in range(6)
    ]
    alike = [[(a == b).mean() for b in right] for a in right]
    within = [alike[i][j] for i, j in ((0, 1), (1, 2), (3, 4), (4, 5))]
    between = [alike[i][j] for i in range(3) for j in range(3, 6)]
    assert min(within) > max(between)


@pytest.mark.parametrize("curve", ["below", "at margin"])
def test_thetas_that_scatter_are_covered_by_source_seeds_and_not_by_transfers(curve):
    """40 small studies of four thetas with four transfers each."""
    case = Case(curve, levels=6, images=2000, margin=0.01, seeds=4, sources=4)
    covers = [rates(case, 40, pooled).covers for pooled in (False, True)]
    assert covers[0] >= 0.88 - 2 * (0.88 * 0.12 / 40) ** 0.5
    assert covers[1] < 0.88 < covers[0]
