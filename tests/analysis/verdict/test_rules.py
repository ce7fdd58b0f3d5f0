"""The verdict by evidence, over hand-made tables of a study."""

import numpy as np
import pandas as pd
import pytest

from analysis.tables.rules import evidence_lines
from analysis.verdict.one_std import METRICS, extreme
from analysis.verdict.rules import SHOWN_COLUMNS, non_inferiority
from search_spaces.levels import sparsity
from search_spaces.reading import studies
from tests.analysis.verdict.ladders import TEXT, dense, level, small_study, table


@pytest.fixture(scope="module")
def study():
    return small_study()


def adaptive(**changes):
    data = studies.parse(TEXT, "small")
    data["downstream"][0] |= {"levels": "adaptive", **changes}
    return studies.validate(data, "small")


def verdict(study, *levels, correct=None):
    frame = non_inferiority(study, table(*levels), correct)
    assert len(frame) == 1 and list(frame.columns) == SHOWN_COLUMNS
    return frame.iloc[0]


def test_confirmed(study):
    row = verdict(study, dense(), level(4), level(8, 0.002), level(10, 0.03), level(12, 0.3))
    assert (row["level"], row["sparsity"]) == (8, sparsity(8))
    assert (row["status"], row["advice"]) == ("confirmed", "every sparser tested level fails")
    assert row["likely_level"] == 8
    # Level 9 is made and was not tested.
    assert (row["low_sparsity"], row["high_sparsity"]) == (sparsity(8), sparsity(9))
    assert (row["margin"], row["confidence"], row["n"], row["dense_n"]) == (0.01, 0.95, 6, 6)
    assert not row["test_images"]
    for metric in METRICS:
        assert row[f"{metric.name}_difference"] == pytest.approx(-0.002)
        assert -0.01 < row[f"{metric.name}_lower"] < -0.002
        assert 0 < row[f"{metric.name}_error"] < 0.002


def test_refuted(study):
    row = verdict(study, dense(), level(4, 0.03), level(8, 0.2))
    assert (row["level"], row["sparsity"], row["status"]) == (0, 0.0, "refuted")
    assert row["advice"] == "every tested level fails"
    assert np.isnan(row["RA_adversarial_difference"])
    assert (row["n"], row["dense_n"]) == (6, 6)


def test_the_sparsest_level_of_all_has_none_above_to_fail(study):
    row = verdict(study, dense(), level(4), level(8))
    assert (row["level"], row["status"]) == (8, "confirmed")
    assert "untested" in row["advice"]


def test_one_metric_is_enough_to_fail(study):
    row = verdict(study, dense(), level(4), level(8, RA_adversarial=0.05))
    assert (row["level"], row["status"]) == (4, "confirmed")


def test_undecided_names_the_seeds_that_would_probably_settle_it(study):
    rows = (
        dense(spread=0.006),
        level(4, 0.08, spread=0.006),
        level(8, spread=0.006, RA_adversarial=0.004),
    )
    row = verdict(study, *rows, level(10, 0.3, spread=0.006))
    assert (row["level"], row["status"], row["likely_level"]) == (0, "undecided", 8)
    number = int(row["advice"].split()[0])
    assert 1 <= number <= 32 and f"{100 * sparsity(8):.2f} %" in row["advice"]
    assert "other" not in row["advice"]


def test_further_open_levels_are_counted_and_what_nobody_affords_is_not_advised(study):
    wide = {"spread": 0.02}
    rows = [level(number, 0.005, **wide) for number in (4, 8, 10)]
    row = verdict(study, dense(**wide), *rows)
    assert row["status"] == "undecided" and row["likely_level"] == 10
    assert "not affordable" in row["advice"]
    assert f"{100 * sparsity(10):.2f} % and 2 other levels" in row["advice"]


def test_behind_an_open_level_nothing_is_said(study):
    """Level 8 matches by itself; with level 4 below it open and level 10 above it open, only the
    sparsest open level can settle what the extreme is."""
    rows = dense(), level(4, 0.0099), level(8), level(10, 0.0099)
    row = verdict(study, *rows, level(12, 0.3))
    assert (row["level"], row["status"]) == (0, "undecided")
    settled = verdict(study, *rows[:3], level(10, 0.3), level(12, 0.3))
    assert (settled["level"], settled["status"]) == (8, "confirmed")


def test_one_seed_shows_no_spread(study):
    row = verdict(study, dense(seeds=1), level(4, seeds=1))
    assert (row["status"], row["advice"]) == ("undecided", "one seed shows no spread: add seeds")
    assert (row["level"], row["n"]) == (0, 1)


def test_an_incomplete_dense_network_has_no_verdict(study):
    lacking = [{**row, "RA": np.nan} for row in dense()]
    row = verdict(study, lacking, level(4))
    assert (row["status"], row["advice"]) == ("undecided", "the dense network is incomplete")
    assert pd.isna(row["level"])
    assert pd.isna(verdict(study, level(4))["level"])


def test_nothing_complete_but_dense(study):
    lacking = [{**row, "SA": np.nan, "RA": np.nan} for row in level(4)]
    row = verdict(study, dense(), lacking)
    assert (row["status"], row["advice"]) == ("undecided", "no pruned level is complete")


def test_a_level_that_lacks_a_regime_is_open(study):
    standard = [row for row in level(8) if row["regime"] == "standard"]
    row = verdict(study, dense(), level(4), standard)
    assert (row["level"], row["status"]) == (4, "undecided")
    assert (row["low_sparsity"], row["high_sparsity"]) == (sparsity(4), sparsity(12))


def test_dense_may_have_fewer_seeds_than_a_level(study):
    row = verdict(study, dense(seeds=2), level(4), level(8, 0.3))
    assert (row["level"], row["n"], row["dense_n"]) == (4, 6, 2)


def test_the_tasks_margin_counts():
    row = verdict(with_margin(0.05), dense(), level(4, 0.03), level(8, 0.2))
    assert (row["level"], row["margin"]) == (4, 0.05)


def test_a_searched_ladder_holds_its_untested_levels():
    """Levels 5 to 9 of a search are untested: the extreme may be any of them."""
    study = adaptive()
    row = verdict(study, dense(), level(4), level(10, 0.3))
    assert (row["low_sparsity"], row["high_sparsity"]) == (sparsity(4), sparsity(9))
    assert row["level"] == 4


def test_every_theta_and_pruning_has_a_row(study):
    frame = non_inferiority(
        study, table(dense(), level(4), level(8, 0.3), level(4, 0.3, pruning="random"))
    )
    assert list(frame[["pruning", "level"]].itertuples(index=False, name=None)) == [
        ("imp", 4),
        ("random", 0),
    ]
    standard = [row for row in level(4, pruning="random") if row["regime"] == "standard"]
    assert list(non_inferiority(study, table(dense(), level(4), standard))["pruning"]) == ["imp"]
    assert non_inferiority(study, table(dense()).iloc[:0]).empty


def records(rows, images=400, without=()):
    """Per-image records of a table whose scores they do not move: right by a fixed order."""
    order = np.random.default_rng(0).permutation(images)
    return {
        row["key"]: {score: order < images * row[score] for score in ("SA", "RA")}
        for row in rows
        if row["key"] not in without
    }


def with_margin(size):
    data = studies.parse(TEXT, "small")
    data["downstream"][0]["margin"] = size
    return studies.validate(data, "small")


def test_test_images_enter_by_their_records_or_as_a_bound():
    study = with_margin(0.2)
    levels = [dense(), level(4, 0.002), level(8, 0.4)]
    rows = [row for level in levels for row in level]
    bare = verdict(study, *levels)
    seen = verdict(study, *levels, correct=records(rows))
    assert seen["test_images"] and not bare["test_images"]
    assert seen["RA_adversarial_error"] > bare["RA_adversarial_error"]
    assert seen["RA_adversarial_difference"] == bare["RA_adversarial_difference"]
    lost = next(row["key"] for row in rows if row["regime"] == "adversarial")
    partly = verdict(study, *levels, correct=records(rows, without=[lost]))
    assert partly["RA_adversarial_error"] > seen["RA_adversarial_error"]
    assert partly["SA_standard_error"] == seen["SA_standard_error"]
    assert partly["test_images"]


def test_without_any_record_scores_tell_how_many_images_there_are():
    """All scores are shares of 400 images: p (1 - p) / 400 for each of the two networks."""
    levels = [dense(), level(4, 0.002), level(8, 0.4)]
    rounded = [
        [{**row, **{s: np.round(400 * row[s]) / 400 for s in ("SA", "RA")}} for row in rows]
        for rows in levels
    ]
    row = verdict(with_margin(0.2), *rounded)
    assert row["test_images"]
    expected = (2 * 0.5 * 0.5 / 400) ** 0.5
    assert row["RA_adversarial_error"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"chance": 0.84}, "SA under adversarial"), ({"chance": 1.0}, "one class"), ({}, None)],
)
def test_no_verdict_where_a_network_that_knows_nothing_would_pass(study, change, named):
    frame = table(dense(), level(4), level(8, 0.3)).assign(**change)
    row = non_inferiority(study, frame).iloc[0]
    if named is None:
        assert row["status"] == "confirmed"
    else:
        assert row["status"] == "none" and named in row["advice"] and pd.isna(row["level"])


def test_no_number_of_seeds_settles_what_the_images_leave_open(study):
    rng = np.random.default_rng(1)
    levels = [dense(), level(4)]
    rows = [row for level in levels for row in level]
    correct = {}
    for row in rows:
        order = np.random.default_rng(row["level"]).permutation(60)
        correct[row["key"]] = {s: (order < 30) ^ (rng.random(60) < 0.01) for s in ("SA", "RA")}
    row = verdict(study, *levels, correct=correct)
    assert row["status"] == "undecided"
    assert "test set is too small" in row["advice"]
    assert f"{100 * sparsity(4):.2f} %" in row["advice"]


def both(study, *levels, correct=None):
    frame = table(*levels)
    return evidence_lines(extreme(frame), non_inferiority(study, frame, correct))


def test_both_rules_read_side_by_side(study):
    lines = both(
        study,
        dense(),
        level(4),
        level(8, 0.002),
        level(10, 0.03),
        level(12, 0.3),
        level(4, 0.3, pruning="random"),
    )
    assert lines[0] == "digits, margin 1 point"
    assert lines[1].split() == [
        *("theta", "pruning", "one-std", "non-inferior", "estimate", "90", "%", "interval"),
    ]
    assert lines[2].split()[:2] == ["standard", "imp"]
    assert "59.04 %  83.22 %       83.22 %   83.22 to 86.58 %  confirmed: every" in lines[2]
    assert "0.00 %   0.00 %        0.00 %    0.00 to 0.00 %    refuted: every" in lines[3]
    assert len(lines) == 5


def test_the_footer_says_whether_test_images_are_included(study):
    levels = [dense(), level(4, 0.002), level(8, 0.3)]
    rows = [row for level in levels for row in level]
    assert "without the test set's error" in both(study, *levels)[-1]
    assert "test-set error included" in both(study, *levels, correct=records(rows))[-1]


def test_a_block_that_begins_with_an_incomplete_dense_network_reads_well(study):
    lacking = [{**row, "RA": np.nan} for row in dense()]
    lines = both(study, lacking, level(4))
    assert lines[0] == "digits, margin 1 point"
    assert "undecided: the dense network is incomplete" in lines[2]
    assert "nan" not in "\n".join(lines)


def replicated(*levels):
    """The levels of four source seeds, each losing what the first says, give or take 0.2 points."""
    shifts = enumerate((-0.001, 0.002, -0.002, 0.001))
    return [
        level(number, loss + (shift if number else 0), source=source, seeds=2, pruning=pruning)
        for source, shift in shifts
        for number, loss, pruning in ((0, 0.0, "dense"), *((k, lost, "imp") for k, lost in levels))
    ]


def test_several_source_seeds_are_what_is_replicated(study):
    row = verdict(study, *replicated((4, 0.0), (8, 0.05)))
    assert (row["level"], row["status"], row["source_seeds"]) == (4, "confirmed", 4)
    assert (row["n"], row["dense_n"]) == (4, 4)
    # Deviations of (-1, 2, -2, 1) thousandths: variance 10 / 3, over four source seeds.
    assert row["RA_adversarial_error"] == pytest.approx(1e-3 * (10 / 3 / 4) ** 0.5)
    assert verdict(study, dense(), level(4))["source_seeds"] == 1


def test_advice_asks_for_source_seeds_where_they_are_replicated(study):
    row = verdict(study, *replicated((4, 0.0115)))
    assert row["status"] == "undecided" and "source seed" in row["advice"]


def test_a_source_seed_counts_when_all_its_transfers_are_there(study):
    rows = table(*replicated((4, 0.0)))
    lost = (rows["source_seed"] == 2) & (rows["level"] == 4) & (rows["seed"] == 1)
    rows.loc[lost, ["SA", "RA"]] = np.nan
    found = non_inferiority(study, rows).iloc[0]
    assert (found["n"], found["dense_n"], found["source_seeds"]) == (3, 4, 4)
