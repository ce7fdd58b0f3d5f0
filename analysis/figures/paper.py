"""The figures of Chen et al. (ICML 2022) over sparsity: 3 (thetas and tasks), 4 (prunings) and 5
(data fractions).

Each is drawn from the rows that its `fig*_rows` chooses of a study's levels (`style.placed`, with
`random`, whether a row is of random pruning): shares in [0, 1], drawn in percent.
"""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    RANDOM_COLOUR,
    canvas,
    dense_key,
    draw_dense,
    draw_line,
    draw_marks,
    label_levels,
    legend,
    mark_keys,
    tidy,
)
from analysis.tables.roles import theta_label
from analysis.tables.text import task_title
from analysis.verdict.one_std import METRICS
from search_spaces.errors import InputError

SHORT = {"standard": "ST", "adversarial": "AT"}
TITLES = {m.name: f"{m.score}-{SHORT[m.regime]}" for m in METRICS}
Look = Mapping[str, tuple[str, str]]  # label -> colour, marker


def all_data(levels: pd.DataFrame) -> pd.DataFrame:
    """Of each dataset the rows with its largest data fraction."""
    return levels[levels["fraction"] == levels.groupby("dataset")["fraction"].transform("max")]


def fig3_rows(levels: pd.DataFrame, main: str) -> pd.DataFrame:
    """The main pruning and random tickets, with all data."""
    return all_data(levels[(levels["pruning"] == main) | levels["random"]])


def fig3(rows: pd.DataFrame) -> Figure:
    """A row of panels per metric, a column per dataset, a line per theta (mean, band of one std)
    over sparsity. Red, with the theta's marker: random tickets; dashed: the dense mean; star and
    ring: where the paper's rule and the verdict by evidence arrive."""
    thetas = dict.fromkeys(rows["theta"])
    looks = {theta: (COLOURS[i % len(COLOURS)], MARKERS[i % 6]) for i, theta in enumerate(thetas)}
    facets = {task_title(own): own for _, own in rows.groupby("dataset", sort=False)}
    return _metric_grid(rows, facets, "theta", looks)


def fig4_rows(levels: pd.DataFrame) -> pd.DataFrame:
    """Every pruning, with all data, of the thetas that several start from.

    Raises InputError if there are none.
    """
    rows = all_data(levels)
    several = rows.groupby("theta")["pruning"].transform("nunique") > 1
    if not several.any():
        raise InputError("fig4 compares prunings: the study has no theta with two of them")
    return rows[several]


def fig4(rows: pd.DataFrame) -> Figure:
    """A row of panels per metric, a column per theta and dataset, a line per pruning; the random
    one is red. A line joins neighbouring levels alone: between levels that one was not tested at,
    there is none."""
    ordered = list(dict.fromkeys(rows.loc[~rows["random"], "pruning"]))
    looks = {name: (COLOURS[i % len(COLOURS)], MARKERS[i % 6]) for i, name in enumerate(ordered)}
    looks |= dict.fromkeys(rows.loc[rows["random"], "pruning"], (RANDOM_COLOUR, "x"))
    facets = {
        f"{theta_label(str(theta))}, {dataset}": own
        for (theta, dataset), own in rows.groupby(["theta", "dataset"], sort=False)
    }
    return _metric_grid(rows, facets, "pruning", looks)


def fig5_rows(levels: pd.DataFrame, main: str) -> pd.DataFrame:
    """The main pruning on the datasets that are used in several fractions.

    Raises InputError if there are none.
    """
    rows = levels[levels["pruning"] == main]
    several = rows.groupby("dataset")["fraction"].transform("nunique") > 1
    if not several.any():
        raise InputError("fig5 compares data fractions: the study has no dataset with two of them")
    return rows[several]


def fig5(rows: pd.DataFrame) -> Figure:
    """A row of panels per metric, a column per dataset and fraction, a line per theta."""
    thetas = dict.fromkeys(rows["theta"])
    looks = {theta: (COLOURS[i % len(COLOURS)], MARKERS[i % 6]) for i, theta in enumerate(thetas)}
    facets = {
        task_title(own): own
        for _, task in rows.groupby("dataset", sort=False)
        for _, own in sorted(task.groupby("fraction"), reverse=True)
    }
    return _metric_grid(rows, facets, "theta", looks)


def _metric_grid(
    rows: pd.DataFrame, facets: Mapping[str, pd.DataFrame], line: str, looks: Look
) -> Figure:
    """A row of panels per metric, a column per facet, a line per value of the column `line`."""
    figure = canvas(1.2 + 3.4 * len(facets), 1.2 + 2.4 * len(METRICS))
    panels = figure.subplots(len(METRICS), len(facets), squeeze=False, sharex=True)
    for metric, cells in zip(METRICS, panels, strict=True):
        for axes, own in zip(cells, facets.values(), strict=True):
            places = sorted(own["x"].unique())
            for name, look in looks.items():
                curve = own[own[line] == name]
                ticket, random = curve[~curve["random"]], curve[curve["random"]]
                # Prunings of one theta share its dense network.
                draw_dense(axes, curve, metric.name, GREY if line == "pruning" else look[0])
                if line == "pruning":
                    _curve(axes, _with_gaps(curve, metric.name, places), metric.name, look, name)
                else:
                    _curve(axes, ticket, metric.name, look, name)
                    red = (RANDOM_COLOUR, look[1])
                    pruned = random[random["level"] > 0].assign(extreme=False, shown=False)
                    _curve(axes, pruned, metric.name, red, f"{name} random")
            tidy(axes)
            if not own[f"{metric.name}_n"].any():
                axes.set_yticks([])
                axes.text(
                    0.5, 0.5, "not trained", transform=axes.transAxes, ha="center", color=GREY
                )
        cells[0].set_ylabel(f"{TITLES[metric.name]}, %")
    for axes, title in zip(panels[0], facets, strict=True):
        axes.set_title(title, size=11)
    for axes in panels[-1]:
        label_levels(axes, rows)
    keys = [_key(theta_label(k) if line == "theta" else k, look) for k, look in looks.items()]
    if line == "theta":
        drawn = set(rows.loc[rows["random"], "theta"])
        markers = {name: marker for name, (_, marker) in looks.items() if name in drawn}
        keys += [_key(f"{theta_label(k)} random", (RANDOM_COLOUR, m)) for k, m in markers.items()]
    legend(figure, [*keys, dense_key(), *mark_keys(rows)])
    return figure


def _with_gaps(curve: pd.DataFrame, metric: str, places: list[int]) -> pd.DataFrame:
    """A pruning's levels with an empty row at each place where it was not tested."""
    tested = curve[curve[f"{metric}_n"] > 0].drop_duplicates("x").set_index("x")
    spread = tested.reindex(places)
    for mark in ("extreme", "shown"):
        spread[mark] = spread[mark].fillna(value=False).astype(bool)
    return spread.rename_axis("x").reset_index()


def _curve(axes: Axes, curve: pd.DataFrame, metric: str, look: tuple[str, str], label: str) -> None:
    curve = curve[curve[f"{metric}_n"] != 0].sort_values("x")
    if curve.empty:
        return
    draw_line(axes, curve, metric, look[0], marker=look[1], markersize=4, label=label)
    draw_marks(axes, curve, metric, look[0])


def _key(label: str, look: tuple[str, str]) -> Line2D:
    return Line2D([], [], color=look[0], marker=look[1], markersize=4, label=label)
