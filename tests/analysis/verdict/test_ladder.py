"""Which levels of a ladder are said to match: by hand, and how often that is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.verdict import ladder
from analysis.verdict.ladder import Looks

KINDS = "mfo-"  # matches by itself, fails, is open, is untested


def said(kinds, full="m", front="m", sequence="m"):
    """The rows shown of a ladder whose levels are as `kinds` say: p is open and only probed, q
    matches and is only probed."""
    asked = np.array([True, *(kind in "mopq" for kind in kinds)])
    probed = np.array([False, *(kind in "pq" for kind in kinds)])
    clears = (
        np.array([True, *(kind in matches + "q" for kind in kinds)])
        for matches in (full, front, sequence)
    )
    return [int(row) for row in np.flatnonzero(ladder.shown(asked, probed, *clears))]


@pytest.mark.parametrize(
    ("kinds", "rows"),
    [
        ("mmm", [1, 2, 3]),
        ("mom", [1, 3]),
        ("mommo", [1]),
        ("omf", [2]),
        ("omo", []),
        ("ffmff", [3]),
        ("mfmo", [1, 3]),
        ("-m-o", [2]),
        ("fff", []),
        ("pmo", [2]),
        ("qmo", [2]),
        ("pmp", [2]),
        ("omq", [3]),
        ("---", []),
        ("", []),
    ],
)
def test_the_sequence_ends_at_an_open_level_and_the_front_stands_alone(kinds, rows):
    assert said(kinds) == rows


@given(st.text(KINDS, max_size=12))
def test_what_is_said_is_tested_and_not_refuted(kinds):
    rows = said(kinds)
    assert all(kinds[row - 1] == "m" for row in rows)
    # Levels shown to fail change nothing but the numbering.
    without = [row for row, kind in enumerate(kinds, 1) if kind != "f"]
    assert [without[row - 1] for row in said(kinds.replace("f", ""))] == rows


@pytest.mark.parametrize(
    ("full", "front", "sequence", "rows"),
    [("m", "", "", []), ("", "m", "", [3]), ("", "", "m", [1, 2]), ("m", "", "m", [1, 2, 3])],
)
def test_each_share_is_used_where_it_belongs(full, front, sequence, rows):
    assert said("mmm", full, front, sequence) == rows


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(
    "beyond",
    [[0] * 14, [0], [-9, -9, -9, 0], [0, 0, 9, 9], [1] * 8, [-9] * 6 + [0] * 8, [2, 0] * 5],
)
def test_no_level_is_wrongly_said_to_match_in_more_than_5_percent(beyond, correlation):
    """Normal estimates with error 1 that lie `beyond` errors past the margin: those of 0 or more
    must not be said to match; equally correlated, as levels are by their common dense network.
    20,000 studies: 5 % and three standard errors."""
    rng = np.random.default_rng(0)
    size = 20_000, len(beyond)
    noise = correlation**0.5 * rng.standard_normal((size[0], 1))
    estimate = noise + (1 - correlation) ** 0.5 * rng.standard_normal(size) - np.array(beyond)

    def bound(rate):
        cleared = estimate > stats.norm.ppf(1 - rate)
        return np.hstack([np.zeros((size[0], 1), bool), cleared])

    fails = np.hstack([np.zeros((size[0], 1), bool), estimate < stats.norm.ppf(0.05 / 3)])
    none = np.zeros(1 + len(beyond), bool)
    full, front, sequence = (bound(0.05 * part) for part in (1, ladder.FRONT, 1 - ladder.FRONT))
    false = np.array([False, *(far >= 0 for far in beyond)])
    wrong = sum(
        (ladder.shown(asked, none, *rows) & false).any()
        for asked, *rows in zip(~fails, full, front, sequence, strict=True)
    )
    assert wrong / size[0] < 0.05 + 3 * (0.05 * 0.95 / size[0]) ** 0.5


# How a search spends its error rate over its looks.


@pytest.mark.parametrize(
    ("first", "seeds", "expected"),
    [
        (3, [1, 2, 3, 4, 6, 7, 12, 13, 24], [0, 0, 1, 2, 2, 3, 3, 4, 4]),
        (1, [1, 2, 3, 4, 5], [0, 1, 2, 2, 3]),
        (5, [1, 4, 5, 10, 11], [0, 0, 1, 2, 3]),
    ],
)
def test_a_look_a_doubling(first, seeds, expected):
    assert list(Looks(first).number(np.array(seeds))) == expected


@pytest.mark.parametrize("first", [1, 2, 3, 5])
def test_the_next_look_is_another(first):
    looks = Looks(first)
    seeds = 1
    for _ in range(5):
        seeds, before = looks.next(seeds), seeds
        last, now, after = looks.number(np.array([before, seeds, seeds + 1]))
        assert last < now < after


@pytest.mark.parametrize(("kind", "first"), [("to_match", 3), ("to_fail", 3), ("to_match", 2)])
def test_all_looks_together_spend_no_more_than_the_error_rate(kind, first):
    """A level and dense on the margin, one more seed after another, up to 192: how often does any
    look cross its bound? 40,000 searches at 5 %, and three standard errors."""
    rng = np.random.default_rng(1)
    looks, rate, runs = Looks(first), 0.05, 40_000
    counts = [1, *(max(first, 2) * 2**k for k in range(7))]
    shares = getattr(looks, kind)(np.array(counts))
    total, crossed, before = np.zeros(runs), np.zeros(runs, bool), 0
    for count, share in zip(counts, shares, strict=True):
        total += rng.standard_normal(runs) * (count - before) ** 0.5
        before = count
        crossed |= total / count**0.5 > stats.norm.ppf(1 - rate * share)
    assert crossed.mean() < rate + 3 * (rate * (1 - rate) / runs) ** 0.5
