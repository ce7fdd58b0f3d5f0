"""Bars: the dense network against its tickets at one sparsity."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.paper import TITLES, all_data
from analysis.figures.style import COLOURS, GREY, RANDOM_COLOUR, canvas, legend, tidy
from analysis.tables.roles import theta_label
from analysis.verdict.one_std import METRICS
from search_spaces.errors import InputError

DENSE_BAR = "dense"


def a10_rows(levels: pd.DataFrame, main: str, level: int | None = None) -> pd.DataFrame:
    """The dense network and every pruning's ticket at one level: with all data, at `level`, or else
    where the main pruning has its extreme double win by the paper's rule; a theta without one is
    left out. One row per dataset, theta, bar and metric: `at` is that level's sparsity, mean and
    std are shares in [0, 1], n counts seeds.

    Raises InputError if nothing is at that level.
    """
    groups = []
    for (_, _), own in all_data(levels).groupby(["dataset", "theta"], sort=False):
        mine = own[own["pruning"] == main]
        chosen = mine[mine["extreme"]] if level is None else own[own["level"] == level]
        if chosen.empty:
            continue
        first = chosen.iloc[0]
        dense = own[own["level"] == 0].head(1).assign(pruning=DENSE_BAR, random=False)
        bars = own[(own["level"] == first["level"]) & (own["level"] > 0)]
        groups.append(pd.concat([dense, bars]).assign(at=first["sparsity"]))
    if not groups:
        tested = sorted(levels.loc[levels["level"] > 0, "level"].unique())
        none = "is a double win by the paper's rule" if level is None else f"is at level {level}"
        known = f"--level takes {', '.join(map(str, tested))}"
        raise InputError(f"a10: no finished ticket {none}: {known}")
    return _long(pd.concat(groups))


def a10(rows: pd.DataFrame) -> Figure:
    """A row of panels per metric, a column per dataset; a group of bars per theta: the dense
    network, then its tickets at the sparsity written below; random ones red. Lines: one std; "not
    tested" stands where a bar is missing."""
    bars = list(dict.fromkeys(rows["bar"]))
    random = set(rows.loc[rows["random"], "bar"])
    plain = [bar for bar in bars if bar != DENSE_BAR and bar not in random]
    colours = {bar: COLOURS[i % len(COLOURS)] for i, bar in enumerate(plain)}
    colours = {bar: colours.get(bar, RANDOM_COLOUR) for bar in bars} | {DENSE_BAR: "#BBBBBB"}
    datasets = list(dict.fromkeys(rows["dataset"]))
    figure = canvas(1.2 + 4 * len(datasets), 1.2 + 2.4 * len(METRICS))
    panels = figure.subplots(len(METRICS), len(datasets), squeeze=False)
    for line, metric in zip(panels, METRICS, strict=True):
        for axes, dataset in zip(line, datasets, strict=True):
            own = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric.name)]
            _groups(axes, own, colours)
        line[0].set_ylabel(f"{TITLES[metric.name]}, %")
    for axes, dataset in zip(panels[0], datasets, strict=True):
        axes.set_title(dataset, size=11)
    keys = [Patch(color=colour, label=bar) for bar, colour in colours.items()]
    legend(figure, keys)
    return figure


def _groups(axes: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    thetas = list(dict.fromkeys(rows["theta"]))
    width = 0.8 / len(colours)
    at = rows.drop_duplicates("theta").set_index("theta")["at"]
    for place, (bar, colour) in enumerate(colours.items()):
        own = rows[rows["bar"] == bar]
        x = [thetas.index(theta) + width * (place + 0.5) - 0.4 for theta in own["theta"]]
        height, std = 100 * own["mean"], 100 * own["std"].fillna(0)
        axes.bar(x, height, 0.9 * width, color=colour, label=bar)
        axes.errorbar(x, height, yerr=std, linestyle="none", color=GREY, capsize=2, linewidth=0.8)
        tested = set(own.loc[own["mean"].notna(), "theta"])
        for theta in (theta for theta in thetas if theta not in tested):
            middle = thetas.index(theta) + width * (place + 0.5) - 0.4
            _note(axes, middle, f"{bar}: not tested")
    labels = [f"{theta_label(name)}\n{100 * at[name]:.2f} %" for name in thetas]
    axes.set_xticks(range(len(thetas)), labels)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(-0.5, len(thetas) - 0.5)
    axes.set_ylim(bottom=0)
    tidy(axes)


def _note(axes: Axes, x: float, words: str) -> None:
    """Small upright words at the foot of the panel."""
    foot = axes.get_xaxis_transform()
    axes.text(x, 0.02, words, rotation=90, ha="center", va="bottom", size=7, transform=foot)


def _long(levels: pd.DataFrame) -> pd.DataFrame:
    """One row per bar from one row per level."""
    labels = ["dataset", "fraction", "theta", "level", "at", "random"]
    parts = []
    for metric in METRICS:
        own = levels[[*labels, "pruning"]].rename(columns={"pruning": "bar"})
        values = {part: levels[f"{metric.name}_{part}"] for part in ("mean", "std", "n")}
        parts.append(own.assign(metric=metric.name, **values))
    return pd.concat(parts, ignore_index=True)
