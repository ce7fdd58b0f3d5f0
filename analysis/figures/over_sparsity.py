"""Transfer performance against sparsity, all of a study in one figure."""

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import (
    COLOURS,
    NO_FLAGS,
    RANDOM_COLOUR,
    RANDOM_MARKERS,
    STROKES,
    Stroke,
    canvas,
    dense_key,
    draw_dense,
    draw_line,
    draw_marks,
    label_levels,
    mark_keys,
    placed,
    tidy,
)
from analysis.tables.roles import random_prunings, theta_label
from analysis.tables.text import task_title
from analysis.verdict.one_std import METRICS
from analysis.verdict.results import Results


@dataclass(frozen=True)
class _Look:
    """How thetas and prunings are told apart, the same in every panel."""

    colours: dict[str, str]
    strokes: dict[str, Stroke]
    markers: dict[str, str]


def curves(results: Results, flags: pd.DataFrame = NO_FLAGS) -> Figure:
    """Mean and one-standard-deviation band of each metric over sparsity, of all of a study.

    A row of axes per dataset and fraction, a column per metric, a line per theta (by colour) and
    pruning (by stroke); levels are evenly spaced. Dashed: the dense mean; star and ring: where the
    paper's rule and the verdict by evidence arrive (see `style.placed`). Random prunings are red,
    with error bars and a marker per theta. Raises InputError if no level has a score.
    """
    levels = placed(results, flags)
    look = _look(levels, random_prunings(results.study))
    tasks = [rows for _, rows in levels.groupby(["dataset", "fraction"], sort=False)]
    figure = canvas(12, 1.3 + 3.2 * len(tasks))
    panels = figure.subplots(len(tasks), len(METRICS), squeeze=False, sharex=True)
    for row, rows in zip(panels, tasks, strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            _panel(axes, rows, metric.name, look)
            axes.set_title(f"{metric.score}, {metric.regime} training", size=11)
        row[0].set_ylabel(f"{task_title(rows)}\ntest accuracy, %")
    for axes in panels[-1]:
        label_levels(axes, levels)
    figure.legend(handles=_legend(look, levels), loc="outside right center", frameon=False)
    return figure


def _look(levels: pd.DataFrame, random: Collection[str]) -> _Look:
    thetas = list(dict.fromkeys(levels["theta"]))
    lines = [name for name in dict.fromkeys(levels["pruning"]) if name not in random]
    return _Look(
        colours={theta: COLOURS[i % len(COLOURS)] for i, theta in enumerate(thetas)},
        strokes={pruning: STROKES[i % len(STROKES)] for i, pruning in enumerate(lines)},
        markers={theta: RANDOM_MARKERS[i % len(RANDOM_MARKERS)] for i, theta in enumerate(thetas)},
    )


def _panel(axes: Axes, rows: pd.DataFrame, metric: str, look: _Look) -> None:
    for place, (theta, colour) in enumerate(look.colours.items()):
        own = rows[(rows["theta"] == theta) & (rows[f"{metric}_n"] > 0)]
        draw_dense(axes, own, metric, colour)
        shift = 0.12 * (place - (len(look.colours) - 1) / 2)
        for pruning, curve in own.groupby("pruning", sort=False):
            curve = curve.sort_values("x")
            if pruning in look.strokes:
                _line(axes, curve, metric, colour, look.strokes[str(pruning)])
            else:
                _crosses(axes, curve[curve["level"] > 0], metric, look.markers[theta], shift)
    tidy(axes)


def _line(axes: Axes, curve: pd.DataFrame, metric: str, colour: str, stroke: Stroke) -> None:
    label = " ".join(curve[["theta", "pruning"]].iloc[0])
    draw_line(axes, curve, metric, colour, linestyle=stroke, label=label)
    draw_marks(axes, curve, metric, colour)


def _crosses(axes: Axes, curve: pd.DataFrame, metric: str, marker: str, shift: float) -> None:
    """Random tickets; thetas are set side by side so that their error bars do not hide."""
    if curve.empty:
        return
    axes.errorbar(
        curve["x"] + shift,
        100 * curve[f"{metric}_mean"],
        yerr=100 * curve[f"{metric}_std"].fillna(0),
        color=RANDOM_COLOUR,
        marker=marker,
        markersize=6,
        markerfacecolor="white",
        linewidth=0.8,
        capsize=2,
        label=" ".join(curve[["theta", "pruning"]].iloc[0]),
        zorder=3,
    )


def _legend(look: _Look, levels: pd.DataFrame) -> list[Line2D]:
    drawn = levels[["theta", "pruning"]].drop_duplicates().itertuples(index=False, name=None)
    handles = [
        Line2D(
            [],
            [],
            color=look.colours[theta],
            linestyle=look.strokes[pruning],
            marker="o",
            markersize=3,
            label=f"{theta_label(theta)}, {pruning}",
        )
        if pruning in look.strokes
        else Line2D(
            [],
            [],
            color=RANDOM_COLOUR,
            linewidth=0.8,
            marker=look.markers[theta],
            markerfacecolor="white",
            label=f"{theta_label(theta)}, {pruning}",
        )
        for theta, pruning in sorted(drawn, key=lambda pair: pair[1] not in look.strokes)
    ]
    return [*handles, dense_key(), *mark_keys(levels)]
