"""The figures of Chen et al. (ICML 2022) over sparsity: 3 (thetas and tasks), 4 (pruners) and 5
(data fractions).

Each is drawn from the rows that its `fig*_rows` chooses of a study's levels (`style.placed`, with
the paper's names of prunings as `pruner`): shares in [0, 1], drawn in percent.
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
    draw_star,
    label_levels,
    star_key,
    tidy,
)
from analysis.tables.text import task_title
from analysis.verdict.one_std import METRICS
from analysis.verdict.roles import RANDOM
from search_spaces.errors import InputError

SHORT = {"standard": "ST", "adversarial": "AT"}
TITLES = {m.name: f"{m.score}-{SHORT[m.regime]}" for m in METRICS}
Look = Mapping[str, tuple[str, str]]  # label -> colour, marker


def is_random(rows: pd.DataFrame) -> pd.Series:
    """Which rows are of random tickets."""
    return rows["pruner"].str.split().str[0] == RANDOM


def all_data(levels: pd.DataFrame) -> pd.DataFrame:
    """Of each dataset the rows with its largest data fraction."""
    return levels[levels["fraction"] == levels.groupby("dataset")["fraction"].transform("max")]


def fig3_rows(levels: pd.DataFrame, main: str) -> pd.DataFrame:
    """The main pruning and random tickets, with all data."""
    return all_data(levels[(levels["pruning"] == main) | is_random(levels)])


def fig3(rows: pd.DataFrame) -> Figure:
    """A row of panels per dataset, a column per theta; in each SA-ST, SA-AT and RA-AT (mean, band
    of one std) over sparsity. Red, with the metric's marker: random tickets; dashed: the dense
    mean; star: the extreme double win."""
    looks = {m.name: (COLOURS[i], MARKERS[i]) for i, m in enumerate(METRICS)}
    datasets, thetas = (list(dict.fromkeys(rows[name])) for name in ("dataset", "theta"))
    figure = canvas(1.8 + 3.9 * len(thetas), 1.2 + 3 * len(datasets))
    panels = figure.subplots(len(datasets), len(thetas), squeeze=False, sharex=True, sharey="row")
    for line, dataset in zip(panels, datasets, strict=True):
        for axes, theta in zip(line, thetas, strict=True):
            own = rows[(rows["dataset"] == dataset) & (rows["theta"] == theta)]
            for metric, (colour, marker) in looks.items():
                ticket, random = own[~is_random(own)], own[is_random(own)]
                _curve(axes, ticket, metric, (colour, marker), TITLES[metric])
                draw_dense(axes, ticket, metric, colour)
                pruned = random[random["level"] > 0].assign(extreme=False)
                _curve(axes, pruned, metric, (RANDOM_COLOUR, marker), f"{TITLES[metric]} random")
            tidy(axes)
        line[0].set_ylabel(f"{task_title(rows[rows['dataset'] == dataset])}\ntest accuracy, %")
    for axes, theta in zip(panels[0], thetas, strict=True):
        axes.set_title(f"θ {theta}", size=11)
    for axes in panels[-1]:
        label_levels(axes, rows)
    keys = [_key(TITLES[metric], look) for metric, look in looks.items()]
    if is_random(rows).any():
        keys += [_key(f"{TITLES[m]}, random", (RANDOM_COLOUR, k)) for m, (_, k) in looks.items()]
    _legend(figure, keys, rows)
    return figure


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
    """A row of panels per theta and dataset, a column per metric, a line per pruner; random
    pruning is red."""
    names = list(dict.fromkeys(rows["pruner"]))
    ordered = [name for name in names if not name.startswith(RANDOM)]
    looks = {name: (COLOURS[i % len(COLOURS)], MARKERS[i % 6]) for i, name in enumerate(ordered)}
    looks |= {name: (RANDOM_COLOUR, "x") for name in names if name.startswith(RANDOM)}
    facets = {
        f"θ {theta}\n{dataset}": own
        for (theta, dataset), own in rows.groupby(["theta", "dataset"], sort=False)
    }
    return _metric_grid(rows, facets, "pruner", looks)


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
    """A row of panels per dataset and fraction, a column per metric, a line per theta."""
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
    """A row of panels per facet, a column per metric, a line per value of the column `line`."""
    figure = canvas(12, 1.2 + 2.6 * len(facets))
    panels = figure.subplots(len(facets), len(METRICS), squeeze=False, sharex=True)
    for cells, (title, own) in zip(panels, facets.items(), strict=True):
        for axes, metric in zip(cells, METRICS, strict=True):
            for name, look in looks.items():
                curve = own[own[line] == name]
                _curve(axes, curve, metric.name, look, name)
                # Prunings of one theta share its dense network.
                draw_dense(axes, curve, metric.name, GREY if line == "pruner" else look[0])
            tidy(axes)
        cells[0].set_ylabel(f"{title}\ntest accuracy, %")
    for axes, metric in zip(panels[0], METRICS, strict=True):
        axes.set_title(f"{metric.score}, {metric.regime} training", size=11)
    for axes in panels[-1]:
        label_levels(axes, rows)
    _legend(figure, [_key(name, look) for name, look in looks.items()], rows)
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, metric: str, look: tuple[str, str], label: str) -> None:
    curve = curve[curve[f"{metric}_n"] > 0].sort_values("x")
    if curve.empty:
        return
    draw_line(axes, curve, metric, look[0], marker=look[1], markersize=4, label=label)
    draw_star(axes, curve, metric, look[0])


def _key(label: str, look: tuple[str, str]) -> Line2D:
    return Line2D([], [], color=look[0], marker=look[1], markersize=4, label=label)


def _legend(figure: Figure, keys: list[Line2D], rows: pd.DataFrame) -> None:
    keys = [*keys, dense_key(), *([star_key()] if rows["extreme"].any() else [])]
    figure.legend(handles=keys, loc="outside upper center", frameon=False, ncols=min(len(keys), 8))
