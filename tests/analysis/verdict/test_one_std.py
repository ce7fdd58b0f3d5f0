"""The verdict against tables worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables.rules import one_std_lines
from analysis.tables.text import format_table
from analysis.verdict.one_std import extreme, levels_table, matching
from search_spaces.levels import sparsity

# Dense scores over seeds 0, 1, 2. SA adversarial: mean 0.85, deviations -.01, 0, .01, so the
# sample std is sqrt(.0002 / 2) = 0.01 and the bar is 0.84. In the same way SA standard: mean 0.98,
# std 0.005, bar 0.975; RA: mean 0.50, std 0.02, bar 0.48.
DENSE = {"SA_standard": (0.975, 0.98, 0.985), "SA": (0.84, 0.85, 0.86), "RA": (0.48, 0.50, 0.52)}
BARS = {"SA_standard": 0.975, "SA": 0.84, "RA": 0.48}


def level(
    number, pruning="imp", theta="standard", dataset="digits", fraction=1.0, source=0, **scores
):
    """Rows of one level; SA_standard, SA and RA (under adversarial training) are by seed."""
    scores = {name: np.atleast_1d(scores.get(name, DENSE[name])) for name in DENSE}
    label = dict(theta=theta, pruning=pruning, level=number, sparsity=sparsity(number))
    label |= dict(dataset=dataset, fraction=fraction, source_seed=source)
    standard = [
        {**label, "regime": "standard", "seed": seed, "SA": sa, "RA": 0.01}
        for seed, sa in enumerate(scores["SA_standard"])
    ]
    adversarial = [
        {**label, "regime": "adversarial", "seed": seed, "SA": sa, "RA": ra}
        for seed, (sa, ra) in enumerate(zip(scores["SA"], scores["RA"], strict=True))
    ]
    return standard + adversarial


def dense(**labels):
    return level(0, pruning="dense", **labels)


def table(*levels):
    return pd.DataFrame([row for rows in levels for row in rows])


def verdict(*levels):
    frame = extreme(table(*levels))
    assert len(frame) == 1
    return frame.iloc[0]


WINS = {}
FAILS_RA = {"RA": (0.47, 0.48, 0.48)}  # mean 0.4767 < 0.48


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        ([0.48, 0.48, 0.48], [0.48, 0.50, 0.52], True),  # exactly on the bar: 0.50 - 0.02
        ([0.4799, 0.48, 0.48], [0.48, 0.50, 0.52], False),
        ([0.9], [0.5, 0.6], True),
        # ddof 1: std of (0, 1) is sqrt(0.5) = 0.7071, not 0.5; the bar is -0.2071.
        ([-0.2], [0.0, 1.0], True),
        ([-0.21], [0.0, 1.0], False),
        ([0.5], [0.5], True),  # one seed: the spread counts as 0
        ([0.4999], [0.5], False),
        ([0.1, 0.2, 0.3], [0.3, 0.1, 0.2], True),  # the same seeds in another order
    ],
)
def test_matching_by_hand(values, reference, expected):
    assert matching(values, reference) is expected


@pytest.mark.parametrize("bad", [[], [float("nan")], [[0.5]]])
def test_matching_refuses_what_is_no_score(bad):
    with pytest.raises(ValueError, match="one finite score per seed"):
        matching(bad, [0.5])
    with pytest.raises(ValueError, match="one finite score per seed"):
        matching([0.5], bad)


scores = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(scores, st.randoms())
def test_an_identical_ticket_always_matches(reference, random):
    values = list(reference)
    random.shuffle(values)
    assert matching(values, reference)


@given(scores, st.floats(1e-6, 1))
def test_a_drop_beyond_the_spread_is_refused(reference, excess):
    spread = np.std(reference, ddof=1) if len(reference) > 1 else 0.0
    assert not matching(np.array(reference) - spread - excess, reference)


def test_levels_table_holds_means_spreads_and_flags():
    rows = levels_table(table(dense(), level(4, **FAILS_RA)))
    assert list(rows["level"]) == [0, 4]
    ticket = rows.iloc[1]
    assert ticket["RA_adversarial_mean"] == pytest.approx(1.43 / 3)
    # Deviations from 0.47667: -.00667, .00333, .00333; squares sum to 6.667e-5; / 2, root.
    assert ticket["RA_adversarial_std"] == pytest.approx(0.0057735, abs=1e-7)
    assert ticket["RA_adversarial_n"] == 3
    flags = ["SA_standard_matching", "SA_adversarial_matching", "RA_adversarial_matching"]
    assert list(ticket[flags]) == [True, True, False]
    assert ticket["complete"] and not ticket["double_win"]
    assert rows.iloc[0]["double_win"]


@pytest.mark.parametrize("metric", ["SA_standard", "SA", "RA"])
def test_each_metric_can_refuse_a_level(metric):
    on_the_bar = {metric: (BARS[metric],) * 3}
    below = {metric: (BARS[metric] - 1e-6,) * 3}
    assert verdict(dense(), level(4, **on_the_bar))["level"] == 4
    assert verdict(dense(), level(4, **below))["level"] == 0


def test_the_extreme_level_is_the_largest_double_win():
    row = verdict(dense(), level(4), level(8), level(10, **FAILS_RA))
    assert (row["level"], row["sparsity"]) == (8, pytest.approx(1 - 0.8**8))
    assert row["lower_levels_match"] and row["lower_levels"] == "all match"
    assert row["RA_adversarial_dense_mean"] == pytest.approx(0.50)
    assert row["RA_adversarial_dense_std"] == pytest.approx(0.02)
    assert (row["n"], row["dense_n"], row["levels_complete"], row["note"]) == (3, 3, 3, "")


def test_a_hump_is_told():
    row = verdict(dense(), level(4), level(6, **FAILS_RA), level(10))
    assert row["level"] == 10
    assert not row["lower_levels_match"]
    assert row["lower_levels"] == "73.79 % does not"
    two = verdict(dense(), level(4, **FAILS_RA), level(6, **FAILS_RA), level(10))
    assert two["lower_levels"] == "59.04, 73.79 % do not"


def test_no_ticket_matches():
    row = verdict(dense(), level(4, **FAILS_RA))
    assert (row["level"], row["sparsity"]) == (0, 0.0)
    assert row["lower_levels"] == "none match" and row["lower_levels_match"]
    assert row["RA_adversarial_mean"] == row["RA_adversarial_dense_mean"]


def test_only_one_level_tested():
    assert verdict(dense(), level(10))["lower_levels"] == "none tested"


def test_a_single_seed_has_no_spread():
    one = {"SA_standard": 0.98, "SA": 0.85, "RA": 0.5}
    row = verdict(dense(**one), level(4, **one), level(8, **one | {"RA": 0.4999}))
    assert row["level"] == 4
    assert np.isnan(row["RA_adversarial_std"]) and np.isnan(row["RA_adversarial_dense_std"])
    assert row["note"] == "1 seed: no spread"
    assert "98.0 (98.0)" in "\n".join(one_std_lines(row.to_frame().T))


def test_a_level_without_a_score_is_named():
    lacking = (float("nan"),) * 3
    row = verdict(dense(), level(4), level(8, RA=lacking), level(10))
    assert (row["level"], row["levels_complete"]) == (10, 2)
    assert not row["lower_levels_match"]
    assert row["lower_levels"] == "83.22 % incomplete"
    assert row["note"] == "incomplete: 83.22 %"
    above = verdict(dense(), level(4), level(10, SA_standard=lacking))
    assert above["note"] == "incomplete: 89.26 %, the extreme may be higher"
    nothing = verdict(dense(), level(4, RA=lacking))
    assert (nothing["levels_complete"], nothing["lower_levels"]) == (0, "none complete")


def test_a_level_under_one_regime_only_is_incomplete():
    standard_only = [row for row in level(8) if row["regime"] == "standard"]
    row = verdict(dense(), level(4), standard_only)
    assert (row["level"], row["note"]) == (4, "incomplete: 83.22 %, the extreme may be higher")


def test_without_the_dense_network_there_is_no_verdict():
    frame = extreme(table(level(4), level(8)))
    assert frame["level"].isna().all()
    assert frame["note"].iloc[0] == "dense network incomplete: no verdict"
    assert "no verdict" in "\n".join(one_std_lines(frame))


def test_other_seeds_are_told():
    row = verdict(dense(), level(4, RA=(0.5, 0.5, float("nan"))))
    assert (row["level"], row["n"], row["dense_n"]) == (4, 2, 3)
    assert row["note"] == "missing seeds: 59.04 % (1 of 3)"
    row = verdict(dense(), level(4, SA_standard=(0.98, 0.98, 0.98, 0.98)))
    assert row["note"] == "other seeds than the dense network's: 59.04 %"
    lacking = (0.5, 0.5, float("nan"))
    row = verdict(dense(RA=lacking), level(4, RA=lacking), level(8))
    assert (row["n"], row["dense_n"]) == (3, 2)
    assert row["note"] == (
        "missing seeds: dense (1 of 3), 59.04 % (1 of 3); "
        "other seeds than the dense network's: 83.22 %"
    )


def test_every_pruning_is_held_against_the_same_dense_network():
    frame = extreme(
        table(
            dense(),
            level(4),
            level(8),
            level(8, pruning="random", **FAILS_RA),
            dense(theta="adversarial", RA=(0.1, 0.1, 0.1)),
            level(8, theta="adversarial", RA=(0.1, 0.1, 0.1)),
        )
    )
    found = list(frame[["theta", "pruning", "level"]].itertuples(index=False, name=None))
    assert found == [
        ("standard", "imp", 8),
        ("standard", "random", 0),
        ("adversarial", "imp", 8),
    ]


def test_tasks_and_fractions_are_apart():
    frame = extreme(
        table(
            dense(),
            level(4),
            dense(fraction=0.1),
            level(4, fraction=0.1, **FAILS_RA),
            dense(dataset="svhn"),
            level(4, dataset="svhn"),
        )
    )
    assert list(frame["level"]) == [4, 0, 4]
    lines = one_std_lines(frame)
    assert [line for line in lines if line.startswith(("digits", "svhn"))] == [
        "digits",
        "digits, 10 % of the data",
        "svhn",
    ]


def test_other_regimes_do_not_enter():
    fast = [{**row, "regime": "fast_adversarial", "SA": 0.0} for row in level(12)]
    assert verdict(dense(), level(4), fast)["note"] == ""
    random = [row for row in level(8, pruning="random") if row["regime"] == "standard"]
    assert list(extreme(table(dense(), level(4), random))["pruning"]) == ["imp"]


def test_an_empty_table_gives_an_empty_verdict():
    nothing = table(dense()).iloc[:0]
    assert extreme(nothing).empty and levels_table(nothing).empty
    assert one_std_lines(extreme(nothing)) == []


def test_the_verdict_reads_well():
    frame = extreme(
        table(
            dense(),
            level(4),
            level(6, **FAILS_RA),
            level(10, RA=(0.49, 0.49, 0.49)),
            dense(theta="fast_adversarial"),
            level(4, theta="fast_adversarial"),
        )
    )
    text = """\
digits
theta             pruning  extreme  SA standard        SA adversarial       RA adversarial       lower levels
standard          imp      89.26 %  98.0±.5 (98.0±.5)  85.0±1.0 (85.0±1.0)  49.0±.0 (50.0±2.0)   73.79 % does not
fast_adversarial  imp      59.04 %  98.0±.5 (98.0±.5)  85.0±1.0 (85.0±1.0)  50.0±2.0 (50.0±2.0)  none tested
(mean±std in %, the dense network's in brackets; rule: within one dense std of the dense mean, 3 seeds)"""  # noqa: E501
    assert "\n".join(one_std_lines(frame)) == text


def test_tables_as_text():
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [0.5, float("nan")]})
    assert format_table(frame, "csv") == "a,b\n1,0.5\n,"
    assert json.loads(format_table(frame, "json")) == [{"a": 1, "b": 0.5}, {"a": None, "b": None}]
    assert "<NA>" not in format_table(frame, "table")
    assert format_table(frame.iloc[:0], "table") == "a  b"


def test_every_transfer_of_every_source_seed_is_a_replicate():
    # Dense SA under adversarial training over both: .84 .85 .86 .86 .87 .88: mean .86, std .0141.
    more = {"SA": (0.86, 0.87, 0.88)}
    rows = [
        dense(),
        dense(source=1, **more),
        level(4, SA=[0.846] * 3),
        level(4, source=1, SA=[0.846] * 3),
    ]
    found = levels_table(table(*rows)).set_index("level")
    assert found.loc[0, "SA_adversarial_std"] == pytest.approx((10e-4 / 5) ** 0.5)
    assert found["n"].tolist() == [6, 6] and found["source_seeds"].tolist() == [2, 2]
    assert found.loc[4, "SA_adversarial_matching"]
    assert not levels_table(table(*rows, level(8, SA=[0.8455] * 3))).iloc[-1][
        "SA_adversarial_matching"
    ]


def test_pairs_are_of_one_source_seed_and_seed():
    both = table(dense(), dense(source=1), level(4), level(4, source=1))
    assert levels_table(both)["same_seeds"].all()
    apart = table(dense(), level(4, source=1))
    assert not levels_table(apart)["same_seeds"].iloc[-1]
