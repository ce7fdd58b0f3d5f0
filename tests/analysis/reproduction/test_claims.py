"""Claims from hand-made scores: seen, not seen, open."""

import numpy as np
import pandas as pd
import pytest

from analysis.reproduction.answers import Held
from analysis.reproduction.claims import Apart, Leads, Overlap, SparserThetas
from analysis.reproduction.numbers import Extreme
from analysis.verdict.results import MISSING, Results, frame, row
from search_spaces import grid
from search_spaces.reading import studies

CLAIMS = studies.load("claims")
LABELS = [cell.labels for cell in grid.transfers(CLAIMS)]
# Little, and another for each seed and score: differences have a spread.
JITTER = np.random.default_rng(0).uniform(-0.002, 0.002, (5, 15, 2))


def held(loss, lost=lambda labels: False):
    """The study `claims` with every transfer at 80 and 40 % less `loss` of its labels."""
    rows = []
    for labels in LABELS:
        moved = JITTER[labels["seed"], labels["level"]]
        scores = {"SA": 0.8 - loss(labels) + moved[0], "RA": 0.4 - loss(labels) + moved[1]}
        if lost(labels):
            rows.append(row(labels, "k", MISSING))
        else:
            rows.append(row(labels, "k", "complete", scores))
    return Held(Results(CLAIMS, frame(rows)), {}, lambda name: pd.DataFrame())


def nothing(labels):
    return 0.0


def of(name, by):
    return lambda labels: by if labels["pruning"] == name else 0.0


@pytest.mark.parametrize(
    ("loss", "holds"),
    [(of("random", 0.1), True), (of("imp", 0.1), False), (nothing, None)],
)
def test_one_pruning_is_better_than_another_where_all_intervals_say_so(loss, holds):
    answer = Apart("imp", "random", sparser=True).answer(held(loss))
    assert answer.holds is holds and answer.missing == 0
    assert "95.60 %" in answer.text, "the sparsest level that both have"


@pytest.mark.parametrize(("loss", "holds"), [(nothing, True), (of("imp-adversarial", 0.1), False)])
def test_two_prunings_are_alike_where_few_intervals_exclude_nothing(loss, holds):
    # Between a network and itself there is no spread: the jitter differs by pruning.
    def moved(labels):
        return loss(labels) + JITTER[labels["level"] % 5, labels["seed"], 0] * (
            labels["pruning"] == "imp"
        )

    answer = Apart("imp", "imp-adversarial", sparser=False).answer(held(moved))
    assert answer.holds is holds
    # SA and RA at seven levels.
    assert " of 14 " in answer.text


@pytest.mark.parametrize(
    ("behind", "holds"), [(("standard", "adversarial"), True), (("fast_adversarial",), False)]
)
def test_a_theta_leads_where_it_leads_each_other(behind, holds):
    answer = Leads("fast_adversarial", 0.1, 4).answer(
        held(lambda labels: 0.1 * (labels["theta"] in behind))
    )
    assert answer.holds is holds
    assert "59.04 %" in answer.text


@pytest.mark.parametrize(("fast", "slow", "holds"), [(8, 10, True), (2, 10, False)])
def test_robust_thetas_are_sparser_where_all_are(fast, slow, holds):
    """The standard theta's tickets lose from level 6 on, of FAT and AT later or not."""
    knees = {"standard": 4, "fast_adversarial": fast, "adversarial": slow}

    def loss(labels):
        return 0.2 * (labels["pruning"] == "imp" and labels["level"] > knees[labels["theta"]])

    answer = SparserThetas().answer(held(loss))
    assert answer.holds is holds
    assert answer.text.startswith("digits 59.04 / ")


def test_what_lacks_transfers_says_how_many():
    def lost(labels):
        return labels["theta"] == "adversarial" and labels["seed"] == 2

    question = Apart("imp", "random", sparser=True)
    answer = question.answer(held(of("random", 0.1), lost=lost))
    # Dense, seven levels of IMP and seven at random.
    assert answer.missing == 15
    assert question.answer(held(nothing, lost=lambda labels: True)) is None
    assert SparserThetas().answer(held(nothing, lost=lambda labels: True)) is None


@pytest.mark.parametrize(("shares", "holds"), [((0.1, 0.15), True), ((0.1, 0.5), False)])
def test_masks_are_unlike_where_each_two_share_little(shares, holds):
    rows = [
        {"first_pruning": "imp", "first_level": level, "similarity": share}
        for level, share in [(6, shares[0]), (6, shares[1]), (8, 0.9)]
    ]
    table = pd.DataFrame(rows)
    study = Held(Results(CLAIMS, frame([])), {}, {"similarity": table}.__getitem__)
    answer = Overlap(6, 0.2).answer(study)
    assert (answer.holds, answer.value) == (holds, max(shares))
    assert Overlap(7, 0.2).answer(study) is None


def test_networks_that_have_learnt_nothing_say_nothing():
    everything = held(lambda labels: 0.39)
    for question in (
        SparserThetas(),
        Extreme("digits", "adversarial"),
        Apart("imp", "random", sparser=True),
        Leads("fast_adversarial", 0.1, 4),
    ):
        assert question.answer(held(nothing)) is not None
        assert question.answer(everything) is None
