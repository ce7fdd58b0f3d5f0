"""The verdict as people read it, over hand-made tables of a study."""

import pytest

from analysis.tables.confirmation import CONFIRMED, CONFIRMED_DENSE
from analysis.tables.verdict import sentences, verdict_lines
from analysis.verdict.one_std import extreme
from analysis.verdict.rules import non_inferiority
from search_spaces.reading import studies
from tests.analysis.verdict.ladders import TEXT, dense, level, small_study, table


def both(*levels, study=None):
    frame = table(*levels)
    more = {"flagged": "", "missing": 0, "transfers": len(frame)}
    shown = non_inferiority(study or small_study(), frame)
    return extreme(frame).assign(**more), shown.assign(**more)


def printed(*levels, width=80, study=None):
    return verdict_lines(*both(*levels, study=study), width)


def said(*levels):
    (sentence,) = sentences(*both(*levels))
    return sentence


def test_a_sentence_names_the_sparsest_ticket_and_what_the_next_level_loses():
    text = said(dense(), level(4), level(8, 0.002), level(10, RA_adversarial=0.03), level(12, 0.3))
    assert text.startswith("digits: From the standard theta, 83.22 % of the weights can go")
    assert "within 1 point" in text and "95 % confidence" in text
    assert text.endswith("At 89.26 % too much is lost: RA is 3.0 points lower.")


def test_a_refuted_ladder_is_not_sold_as_dense_at_no_sparsity():
    text = said(dense(), level(4, SA_standard=0.3), level(8, 0.4))
    assert "no tested ticket of imp stays within 1 point" in text and "0.00 %" not in text
    assert "At 59.04 % too much is lost: SA after standard training is 30.0 points lower" in text


def test_the_sparsest_tested_level_does_not_sound_like_a_bound():
    assert said(dense(), level(4), level(8)).endswith("Nothing sparser was tested.")
    (row,) = (line for line in printed(dense(), level(4), level(8)) if line.startswith("standard"))
    assert "83.22 % and more" in row


def test_an_open_level_is_told_with_what_would_settle_it():
    text = said(dense(), level(4), level(8, 0.009, spread=0.004), level(12, 0.3))
    assert "59.04 % of the weights can go" in text
    assert "At 83.22 %, where" in text and "seed" in text.rpartition("it is open")[2]


def test_what_may_not_be_judged_has_no_level():
    frames = both(dense(), level(4))
    frames[1]["status"], frames[1]["advice"] = "flagged", "look at 12ab"
    (text,) = sentences(*frames)
    assert "no verdict: look at 12ab" in text and "can go" not in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_it_fits_the_terminal_and_breaks_no_word(width):
    theta = {"theta": "fast_adversarial"}
    levels = [dense(), level(4), level(8, 0.002), level(12, 0.3)]
    levels += [dense(**theta), level(4, 0.3, pruning="random", **theta)]
    lines, wide = printed(*levels, width=width), printed(*levels, width=10_000)
    assert max(map(len, lines)) <= width
    assert set(" ".join(lines).split()) <= set(" ".join(wide).split())
    assert any(line.startswith("standard") and "83.22 %" in line for line in lines)


def test_a_wide_terminal_shows_all_three_scores_beside_the_dense_networks():
    levels = [dense(), level(4), level(8, SA_standard=0.004, RA_adversarial=0.003), level(12, 0.3)]
    (row,) = (line for line in printed(*levels, width=120) if line.startswith("standard"))
    assert row.split("  ")[-3:] == ["97.6 (98.0)", "85.0 (85.0)", "49.7 (50.0)"]
    assert "97.6 (98.0)" not in "\n".join(printed(*levels, width=80))


def test_tasks_have_their_own_table():
    data = studies.parse(TEXT, "small")
    data["downstream"][0]["fractions"] = [1.0, 0.1]
    few = [{**row, "fraction": 0.1} for row in (*dense(), *level(4, 0.3))]
    lines = printed(dense(), level(4), few, study=studies.validate(data, "small"))
    assert "digits, margin 1 point" in lines
    assert "digits, 10 % of the data, margin 1 point" in lines
    assert sum(line.startswith("standard ") for line in lines) == 2


def test_nothing_to_judge_says_nothing():
    assert printed(dense()) == []


def test_a_stronger_attack_is_a_column_where_it_was_made():
    judged, shown = both(dense(), level(4), level(8, 0.002), level(12, 0.3))
    columns = {CONFIRMED: [0.312], CONFIRMED_DENSE: [0.345]}
    lines = verdict_lines(judged, shown.assign(**columns), 120)
    assert any("31.2 (34.5)" in line for line in lines)
    assert max(map(len, verdict_lines(judged, shown.assign(**columns), 80))) <= 80
    missing = shown.assign(**dict.fromkeys(columns, float("nan")))
    assert verdict_lines(judged, missing, 120) == verdict_lines(judged, shown, 120)
