"""What AutoAttack leaves of the levels that a verdict names."""

import math

import pandas as pd
import pytest

from analysis.tables.confirmation import CONFIRMED, CONFIRMED_DENSE, confirmed

GROUP = {"theta": "t", "dataset": "d", "fraction": 1.0}


def shown(*levels):
    names = [f"p{place}" for place in range(len(levels))]
    rows = [{**GROUP, "pruning": n, "level": k} for n, k in zip(names, levels, strict=True)]
    return pd.DataFrame(rows).astype({"level": "Int64"})


def attacked(pruning, level, ra, images=10, regime="adversarial"):
    return {
        **GROUP,
        "pruning": pruning,
        "level": level,
        "regime": regime,
        "ra": ra,
        "images": images,
    }


def test_each_row_gets_the_mean_of_its_level_and_of_dense():
    rows = [
        *(attacked("dense", 0, 0.4), attacked("dense", 0, 0.6)),
        *(attacked("p0", 3, 0.3), attacked("p0", 3, 0.2), attacked("p0", 4, 0.0)),
        # On fewer images, and of a regime that no verdict reads.
        *(attacked("p0", 3, 0.9, images=2), attacked("p0", 3, 0.9, regime="standard")),
    ]
    table = confirmed(shown(3, 0, None, 2), pd.DataFrame(rows))
    assert list(table[CONFIRMED_DENSE]) == pytest.approx([0.5] * 4)
    own = list(table[CONFIRMED])
    assert own[:2] == pytest.approx([0.25, 0.5])
    assert all(math.isnan(each) for each in own[2:])


def test_without_attacks_a_verdict_is_as_it_was():
    verdict = shown(3)
    assert confirmed(verdict, pd.DataFrame()) is verdict
