"""What a stronger attack leaves of the levels that a verdict names."""

from typing import Any

import pandas as pd

from analysis.verdict.flags import JUDGED
from analysis.verdict.one_std import GROUP
from search_spaces.grid import DENSE

CONFIRMED, CONFIRMED_DENSE = "RA_autoattack_mean", "RA_autoattack_dense_mean"


def confirmed(shown: pd.DataFrame, attacked: pd.DataFrame) -> pd.DataFrame:
    """A verdict with two columns more, in [0, 1]: the mean accuracy under AutoAttack of the level
    that each row names, and of the dense network it is held against; missing where none was made.

    shown: a table of `flags.verdicts`; attacked: a row for each transfer, with its labels, `ra` and
    `images`, as evidence has them. Of a level's rows those on the most images count. Without any,
    the table is as it was.
    """
    if attacked.empty:
        return shown
    rows = attacked[attacked["regime"].isin(list(JUDGED))]
    most = rows.groupby([*GROUP, "level"])["images"].transform("max")
    means = rows[rows["images"] == most].groupby([*GROUP, "level"])["ra"].mean().to_dict()

    def of(group: tuple[Any, ...], level: Any) -> float:
        theta, _, dataset, fraction = group
        place = group if level is pd.NA or level else (theta, DENSE, dataset, fraction)
        return float(means.get((*place, level), float("nan")))

    groups = [tuple(row) for row in shown[GROUP].itertuples(index=False, name=None)]
    levels = list(shown["level"])
    own = [of(group, level) for group, level in zip(groups, levels, strict=True)]
    return shown.assign(**{CONFIRMED: own, CONFIRMED_DENSE: [of(group, 0) for group in groups]})
