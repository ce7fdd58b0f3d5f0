"""No verdict where a network that knows nothing would pass."""

import numpy as np
import pandas as pd
import pytest

from analysis.verdict.completeness import no_verdict


def dense(sa=0.9, adversarial=0.8, ra=0.5, **columns):
    rows = [
        {"regime": "standard", "seed": 0, "SA": sa, "RA": 0.0},
        {"regime": "adversarial", "seed": 0, "SA": adversarial, "RA": ra},
    ]
    return pd.DataFrame(rows).assign(**columns)


@pytest.mark.parametrize(
    ("scores", "chance", "named"),
    [
        ({}, 0.1, None),
        ({}, np.nan, None),
        ({"sa": 0.109}, 0.1, "SA under standard"),
        ({"adversarial": 0.105}, 0.1, "SA under adversarial"),
        ({"sa": 0.111}, 0.1, None),
        ({"sa": 0.109}, np.nan, None),
        # An attack may bring accuracy below chance: there a network that knows nothing gets none.
        ({"ra": 0.05}, 0.1, None),
        ({"ra": 0.01}, 0.1, "RA under adversarial"),
        ({"ra": 0.01}, np.nan, "RA under adversarial"),
        ({"sa": 0.0}, np.nan, "SA under standard"),
        ({"sa": np.inf}, 0.1, "not a number"),
        ({"sa": 1.0, "adversarial": 1.0, "ra": 1.0}, 1.0, "one class"),
        # What is missing is named elsewhere.
        ({"sa": np.nan}, 0.1, None),
    ],
)
def test_why_there_is_no_verdict(scores, chance, named):
    found = no_verdict(dense(**scores, chance=chance), 0.01)
    assert (found is None) if named is None else named in found


def test_without_the_share_of_the_commonest_class_the_rest_is_checked():
    assert no_verdict(dense(), 0.01) is None
    assert "RA" in no_verdict(dense(ra=0.0), 0.01)
