"""Transfer performance against sparsity, as in the figures of Chen et al. (ICML 2022)."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.tables import task_title
from analysis.verdict import METRICS, extreme, levels_table
from search_spaces.errors import InputError

Stroke = Literal["-", "-.", ":"]

SUFFIXES = (".png", ".pdf", ".svg")

# Okabe and Ito's colours, safe for colour-blind readers; red is kept for random tickets.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
RANDOM_COLOUR = "#D62728"
RANDOM_MARKERS = ("x", "s", "^", "D", "v", "o")
STROKES: tuple[Stroke, ...] = ("-", "-.", ":")
CURVE = ["theta", "pruning", "dataset", "fraction"]


@dataclass(frozen=True)
class _Look:
    """How thetas and prunings are told apart, the same in every panel."""

    colours: dict[str, str]
    strokes: dict[str, Stroke]
    markers: dict[str, str]


def curves(table: pd.DataFrame, random: Collection[str] = ("random",)) -> Figure:
    """Mean and one-standard-deviation band of each metric over sparsity, from a verdict table.

    A row of axes per dataset and fraction, a column per metric, a line per theta (by colour) and
    pruning (by stroke); levels are evenly spaced. Dashed: the dense mean; star: the extreme
    double-win level. Prunings named in `random` are red, with error bars and a marker per theta.
    Raises InputError if no level has a score.
    """
    levels = _with_places(table)
    look = _look(levels, random)
    tasks = [rows for _, rows in levels.groupby(["dataset", "fraction"], sort=False)]
    figure = Figure(figsize=(12, 1.3 + 3.2 * len(tasks)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tasks), len(METRICS), squeeze=False, sharex=True)
    for row, rows in zip(panels, tasks, strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            _panel(axes, rows, metric.name, look)
            axes.set_title(f"{metric.score}, {metric.regime} training", size=11)
        row[0].set_ylabel(f"{task_title(rows)}\ntest accuracy, %")
    ladder = levels.drop_duplicates("x").sort_values("x")
    for axes in panels[-1]:
        axes.set_xticks(list(ladder["x"]), [f"{100 * share:.2f}" for share in ladder["sparsity"]])
        axes.tick_params(axis="x", rotation=45 if len(ladder) > 5 else 0)
        axes.set_xlabel("sparsity, %")
    figure.legend(handles=_legend(look, levels), loc="outside right center", frameon=False)
    return figure


def check_path(path: Path) -> None:
    """Raises InputError unless the name ends in .png, .pdf or .svg and its folder is there."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"figure {path}: the name must end in one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"figure {path}: there is no folder {path.parent}: create it first")


def collapse(probes: pd.DataFrame) -> Figure:
    """Accuracy on the held-out probe over epochs, from a table of `load.probe_curves`.

    A colour per dataset label, theta, pruning and level; solid: PGD; dotted: FGSM, the training's
    own attack; a cross where the training was stopped. Raises InputError for an empty table.
    """
    if probes.empty:
        raise InputError("no transfer was watched for catastrophic overfitting: nothing to draw")
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    groups = probes.groupby(["dataset", "theta", "pruning", "level", "seed"], sort=False)
    for number, (name, rows) in enumerate(groups):
        colour = COLOURS[number % len(COLOURS)]
        dataset, theta, pruning, level, seed = name
        ticket = pruning if level == 0 else f"{pruning} level {level}"
        label = f"{dataset}, {theta} {ticket}, seed {seed}"
        # Trainings are the same until one is stopped: earlier lines show behind later ones.
        width = max(1.5, 3.5 - number)
        for signal, stroke in (("PGD", "-"), ("FGSM", ":")):
            axes.plot(
                rows["epoch"],
                100 * rows[signal],
                stroke,
                color=colour,
                linewidth=width,
                label=f"{label}: {signal}",
            )
        if rows["state"].iloc[0] == "co_stopped":
            last = rows.iloc[-1]
            axes.plot(last["epoch"], 100 * last["PGD"], "X", color=colour, markersize=10)
    axes.set_xlabel("epoch (a cross: stopped)")
    axes.set_ylabel("accuracy on the probe, %")
    axes.set_ylim(-2, 102)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; raises InputError as check_path does, or if the file cannot be written."""
    check_path(path)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"figure {path}: cannot be written: {error.strerror}") from None


def _with_places(table: pd.DataFrame) -> pd.DataFrame:
    """The levels table with each sparsity's place on the x axis, and who is extreme."""
    levels = levels_table(table)
    counts = levels.loc[levels["level"] > 0, [f"{metric.name}_n" for metric in METRICS]]
    if not (counts > 0).any(axis=None):
        raise InputError("curves: no transfer of a pruned ticket has a score yet")
    # Prunings may differ in rate; nine digits tell levels apart, not last bits.
    sparsity = levels["sparsity"].round(9)
    places = {share: x for x, share in enumerate(sorted(sparsity.unique()))}
    verdict = extreme(table).dropna(subset=["level"])
    stars = {tuple(row) for row in verdict[[*CURVE, "level"]].itertuples(index=False)}
    rows = levels[[*CURVE, "level"]].itertuples(index=False)
    return levels.assign(x=sparsity.map(places), extreme=[tuple(row) in stars for row in rows])


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
        dense = own.loc[own["level"] == 0, f"{metric}_mean"]
        if len(dense):
            axes.axhline(100 * dense.iloc[0], color=colour, linewidth=0.8, linestyle="--", zorder=1)
        shift = 0.12 * (place - (len(look.colours) - 1) / 2)
        for pruning, curve in own.groupby("pruning", sort=False):
            curve = curve.sort_values("x")
            if pruning in look.strokes:
                _line(axes, curve, metric, colour, look.strokes[str(pruning)])
            else:
                _crosses(axes, curve[curve["level"] > 0], metric, look.markers[theta], shift)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, curve: pd.DataFrame, metric: str, colour: str, stroke: Stroke) -> None:
    mean, std = 100 * curve[f"{metric}_mean"], 100 * curve[f"{metric}_std"].fillna(0)
    axes.fill_between(curve["x"], mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    label = " ".join(curve[["theta", "pruning"]].iloc[0])
    axes.plot(
        curve["x"], mean, color=colour, linestyle=stroke, marker="o", markersize=3, label=label
    )
    star = curve[curve["extreme"]]
    axes.plot(
        star["x"],
        100 * star[f"{metric}_mean"],
        linestyle="none",
        marker="*",
        markersize=14,
        markerfacecolor=colour,
        markeredgecolor="black",
        markeredgewidth=0.8,
        zorder=4,
    )


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
    grey = "#555555"
    drawn = levels[["theta", "pruning"]].drop_duplicates().itertuples(index=False, name=None)
    handles = [
        Line2D(
            [],
            [],
            color=look.colours[theta],
            linestyle=look.strokes[pruning],
            marker="o",
            markersize=3,
            label=f"{theta}, {pruning}",
        )
        if pruning in look.strokes
        else Line2D(
            [],
            [],
            color=RANDOM_COLOUR,
            linewidth=0.8,
            marker=look.markers[theta],
            markerfacecolor="white",
            label=f"{theta}, {pruning}",
        )
        for theta, pruning in sorted(drawn, key=lambda pair: pair[1] not in look.strokes)
    ]
    handles.append(Line2D([], [], color=grey, linewidth=0.8, linestyle="--", label="dense mean"))
    if levels["extreme"].any():
        handles.append(
            Line2D(
                [],
                [],
                color=grey,
                linestyle="none",
                marker="*",
                markersize=12,
                markeredgecolor="black",
                label="extreme double win",
            )
        )
    return handles
