"""Signs of masked gradients stand between a level and its verdict, until the study answers."""

import pandas as pd
import pytest

from analysis.tables.rules import evidence_lines, one_std_lines
from analysis.verdict import flags
from analysis.verdict.results import Results
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.reading import studies
from tests.support.synthetic import large_study, table

KEY, OTHER = "00000000000000aa", "00000000000000bb"
PLACE = {"theta": "standard", "pruning": "imp", "dataset": "svhn", "fraction": 1.0, "level": 9}
FLAG = {**PLACE, "regime": "adversarial", "seed": 0, "key": KEY, "flag": "zero", "rule": "..."}
JUDGED = pd.DataFrame([PLACE, {**PLACE, "level": 4}, {**PLACE, "theta": "adversarial"}])


def raised(*changes):
    return pd.DataFrame([{**FLAG, **change} for change in changes])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (raised({}), [f"look at {KEY}", "", ""]),
        (raised({}, {"flag": "huge"}), [f"look at {KEY}", "", ""]),
        (raised({}, {"seed": 1, "key": OTHER}), [f"look at {KEY}, {OTHER}", "", ""]),
        # The dense network is behind every level's verdict, of its own theta alone.
        (raised({"pruning": "dense", "level": 0}), [f"look at {KEY}", f"look at {KEY}", ""]),
        # Robust accuracy under standard training enters no verdict.
        (raised({"regime": "standard"}), ["", "", ""]),
        (raised({"fraction": 0.1}), ["", "", ""]),
        (pd.DataFrame(), ["", "", ""]),
    ],
)
def test_a_flag_stands_before_its_level_and_those_held_against_it(found, expected):
    assert flags.open_flags(JUDGED, found, {}) == expected


def test_a_flag_that_was_looked_at_does_not_stand_in_the_way():
    found = raised({}, {"seed": 1, "key": OTHER})
    assert flags.open_flags(JUDGED, found, {KEY: "sound"})[0] == f"look at {OTHER}"
    assert flags.acknowledged(found, {KEY: "sound", "f" * 16: "none"}) == {KEY: "sound"}


def test_a_verdict_without_a_level_waits_for_its_dense_network_alone():
    judged = pd.DataFrame([{**PLACE, "level": pd.NA}]).astype({"level": "Int64"})
    dense = raised({"pruning": "dense", "level": 0}, {"key": OTHER})
    assert flags.open_flags(judged, dense, {}) == [f"look at {KEY}"]


@pytest.fixture(scope="module")
def study():
    return large_study("small", levels=[0, 4, 9, 13], fractions=[1.0], seeds=[0, 1, 2])


def test_a_blocked_verdict_is_flagged_under_both_rules_and_in_print(study):
    scores = table(study)
    judged, shown = flags.verdicts(Results(study, scores), pd.DataFrame())
    assert not (judged["flagged"] + shown["flagged"]).any()
    win = judged[judged["level"] > 0].iloc[0]
    dense = {name: win[name] for name in ("theta", "dataset", "fraction")}
    found = raised({**dense, "pruning": "dense", "level": 0})

    blocked, waiting = flags.verdicts(Results(study, scores), found)
    mine = (blocked[list(dense)] == pd.Series(dense)).all(axis=1)
    assert set(blocked.loc[mine, "flagged"]) == {f"look at {KEY}"} and mine.sum() == 4
    assert set(waiting.loc[mine, "status"]) == {"flagged"}
    assert set(waiting.loc[mine, "advice"]) == {f"look at {KEY}"}
    pd.testing.assert_frame_equal(blocked.drop(columns="flagged"), judged.drop(columns="flagged"))
    pd.testing.assert_frame_equal(waiting[~mine], shown[~mine])
    printed = "\n".join(one_std_lines(blocked))
    assert f"flagged: {win['theta']} {win['pruning']} on" in printed and KEY in printed
    assert 'looked_at: {"KEY": "..."}' in printed
    assert f"flagged: look at {KEY}" in "\n".join(evidence_lines(blocked, waiting))

    answered = study.model_copy(update={"looked_at": {KEY: "stronger attacks agree"}})
    free, settled = flags.verdicts(Results(answered, scores), found)
    pd.testing.assert_frame_equal(free, judged)
    pd.testing.assert_frame_equal(settled, shown)


def test_what_a_network_that_knows_nothing_reaches_is_no_verdict_by_either_rule(study):
    """The dense network of one theta is at the commonest class's share under standard training."""
    scores = table(study)
    idle = (scores["theta"] == "standard") & (scores["regime"] == "standard")
    scores["chance"] = scores["SA"].where(idle, 0.1)
    judged, shown = flags.verdicts(Results(study, scores), pd.DataFrame())
    mine = judged["theta"] == "standard"
    assert judged.loc[mine, ["level", "SA_standard_mean"]].isna().all(axis=None)
    assert judged.loc[mine, "note"].str.contains("SA under standard training").all()
    assert judged.loc[~mine, "level"].notna().all() and mine.any() and not mine.all()
    assert (shown["status"] == "none").tolist() == mine.tolist()
    known = scores.assign(chance=0.1)
    judged, _ = flags.verdicts(Results(study, known), pd.DataFrame())
    assert judged["level"].notna().all()


def test_what_was_looked_at_enters_no_key_and_must_look_like_one(study):
    data = study.model_dump(mode="json", exclude_none=True)
    answered = studies.validate({**data, "looked_at": {KEY: "sound"}}, "small")
    assert answered.looked_at == {KEY: "sound"} and key(answered) == key(study)
    for bad in ({"abc": "sound"}, {KEY: ""}):
        with pytest.raises(InputError, match=r"looked_at\."):
            studies.validate({**data, "looked_at": bad}, "small")
