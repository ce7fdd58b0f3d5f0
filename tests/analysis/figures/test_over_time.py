"""Who ran when, by hand: lanes, pauses, how the stages lie over each other."""

import pandas as pd
import pytest

from analysis.figures import timeline
from analysis.figures.over_time import PAUSE_SECONDS, overlap, placed

# Two chains of a theta and a ticket, and three transfers, on one machine.
SPANS = [
    ("pretraining", "a", 0, 10),
    ("ticket", "a", 10, 20),
    ("pretraining", "b", 0, 14),
    ("ticket", "b", 14, 40),
    ("transfer", "a", 22, 38),
    ("transfer", "a", 38, 50),
    ("transfer", "b", 42, 46),
]


def spans(rows=SPANS, host="here", start=1000.0):
    table = pd.DataFrame(rows, columns=["stage", "theta", "begin", "end"])
    table = table.assign(key=[str(n) for n in table.index], host=host)
    return table.assign(begin=table["begin"] + start, end=table["end"] + start)


def lanes(rows):
    moves = rows[rows["stage"] == "transfer"]
    return list(zip(moves["begin"], moves["lane"], strict=True))


def test_what_runs_side_by_side_is_in_lanes_of_its_own():
    rows = placed(spans())
    assert lanes(rows) == [(22, "here 1"), (38, "here 1"), (42, "here 2")]
    assert len({*rows["lane"]}) == 4
    for _, lane in rows.groupby("lane"):
        assert (lane["begin"].iloc[1:].to_numpy() >= lane["end"].iloc[:-1].to_numpy()).all()


def test_machines_have_lanes_of_their_own():
    table = pd.concat([spans(SPANS[:5]), spans([("transfer", "a", 39, 41)], host="there")])
    assert lanes(placed(table)) == [(22, "here 1"), (39, "there 1")]


def test_the_numbers_of_an_overlap():
    seen = overlap(placed(spans()))
    assert (seen.wall, seen.first_source, seen.last_source) == (50, 10, 40)
    assert (seen.first_transfer, seen.slots) == (22, 2)
    # From 10 on, two at work but for 20 to 22, 40 to 42 and 46 to 50, when there is one.
    assert seen.busy == pytest.approx((2 * 40 - 8) / 80)


def test_time_in_which_a_run_was_interrupted_is_left_out():
    long = 10 * PAUSE_SECONDS
    later = [(s, t, b + long, e + long) if b >= 42 else (s, t, b, e) for s, t, b, e in SPANS]
    short = [row for row in later if row[3] != 50]
    rows = placed(spans(short))
    assert rows["begin"].max() == rows["end"].iloc[:-1].max() == 40
    assert overlap(rows).wall == 44


def test_every_span_is_drawn_in_its_lane():
    rows = placed(spans())
    (axes,) = timeline(rows).axes
    bars = [path for each in axes.collections for path in each.get_paths()]
    assert len(bars) == len(rows)
    assert len(axes.get_yticks()) == rows["lane"].nunique()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
