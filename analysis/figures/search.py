"""A search in pictures: what each trial set and reached, and the trade between SA and RA."""

import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.tables.search import front, objectives, winner
from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.searches.spaces import AnyDomain, Choice, LogUniform, LogWhole, Value
from search_spaces.study import Study

# cividis reads the same to colour-blind eyes; vermilion and black are apart from all of it.
SHADES = "cividis"
BEST_COLOUR, OWN_COLOUR, LOST_COLOUR = "#D55E00", "#000000", "#999999"


def parallel(study: Study, table: pd.DataFrame) -> Figure:
    """Parallel coordinates of a search's trials (a table of `search_tables.frame`).

    An axis for each parameter, on its domain's scale, then one for each objective; a line for each
    trial, shaded by the first objective, grey and without an end where it reached no score. The
    best and the study's own are drawn over the others. Raises InputError for an empty table.
    """
    _check(study, table)
    space, names = trials.searched(study).space, objectives(study)
    spans = {name: _span(table[name]) for name in names}
    places = [*space, *names]
    figure = Figure(figsize=(max(7.0, 1.9 * len(places)), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    scale = Normalize(*spans[names[0]])
    shade = ScalarMappable(scale, SHADES)
    best = winner(study, table)
    # The best are drawn last, so that they are seen.
    for row in table.sort_values(names[0], na_position="first").to_dict("records"):
        heights = [_height(domain, row[name]) for name, domain in space.items()]
        heights += [_within(row[name], *spans[name]) for name in names]
        scored = not pd.isna(row[names[0]])
        colour = shade.to_rgba(row[names[0]]) if scored else LOST_COLOUR
        axes.plot(heights, color=colour, linewidth=1.2, alpha=0.8, zorder=2 if scored else 1)
        if best is not None and row["key"] == best["key"]:
            axes.plot(heights, color=BEST_COLOUR, linewidth=3, zorder=4)
        if row["shipped"]:
            axes.plot(heights, color=OWN_COLOUR, linewidth=2, linestyle="--", zorder=5)
    for place, (name, domain) in enumerate(space.items()):
        _scale(axes, place, [(_height(domain, value), value) for value in _marks(domain)], name)
    for place, name in enumerate(names, start=len(space)):
        low, high = spans[name]
        marks = [(t, f"{100 * (low + t * (high - low)):.1f} %") for t in (0.0, 0.5, 1.0)]
        _scale(axes, place, marks, f"validation {name}")
    axes.set_xlim(-0.3, len(places) - 0.45)
    axes.set_ylim(-0.12, 1.06)
    axes.set_axis_off()
    figure.colorbar(
        shade, ax=axes, label=f"validation {names[0]}", format=lambda x, _: f"{100 * x:.0f} %"
    )
    figure.legend(handles=_legend(table), loc="outside upper center", ncols=4, frameon=False)
    return figure


def pareto(study: Study, table: pd.DataFrame) -> Figure:
    """Validation RA over SA of a search's trials, with the Pareto front of the two as steps.

    Raises InputError where trials have no RA: their regime has no attack.
    """
    _check(study, table)
    scored = table.dropna(subset=["SA", "RA"])
    if scored.empty:
        raise InputError(
            f"search of {study.name}: its regime has no attack: there is no RA to draw"
        )
    figure = Figure(figsize=(6.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    x, y = 100 * scored["SA"], 100 * scored["RA"]
    axes.scatter(x, y, s=34, color="#56B4E9", edgecolor="white", label="trial", zorder=2)
    edge = scored[front(scored[["SA", "RA"]])].sort_values("SA")
    # Up to a trial's SA, its RA can be had.
    axes.step(
        100 * edge["SA"],
        100 * edge["RA"],
        where="pre",
        color="#0072B2",
        marker="o",
        markersize=6,
        label="Pareto front",
        zorder=3,
    )
    best = winner(study, scored)
    if best is not None:
        place = 100 * best["SA"], 100 * best["RA"]
        axes.plot(*place, "D", color=BEST_COLOUR, ms=9, label="best", zorder=4)
    own = scored[scored["shipped"]]
    axes.plot(
        100 * own["SA"], 100 * own["RA"], "*", color=OWN_COLOUR, ms=14, ls="none", label="shipped"
    )
    axes.set_xlabel("validation SA, %")
    axes.set_ylabel("validation RA, %")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _check(study: Study, table: pd.DataFrame) -> None:
    if table[objectives(study)].dropna().empty:
        raise InputError(f"search of {study.name}: no trial has a score yet: nothing to draw")


def _span(column: pd.Series) -> tuple[float, float]:
    """The lowest and highest value, a little apart if they are one."""
    low, high = float(column.min()), float(column.max())
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _within(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low)


def _height(domain: AnyDomain, value: Value) -> float:
    """A value's place on its axis, in [0, 1]; nan for a parameter that the trial has not."""
    if isinstance(domain, Choice):
        known = list(domain.choice)
        return (known.index(value) + 0.5) / len(known) if value in known else math.nan
    if isinstance(value, str) or pd.isna(value):
        return math.nan
    low, *_, high = (float(end) for end in domain.samples)
    if isinstance(domain, LogUniform | LogWhole):
        return _within(math.log(value), math.log(low), math.log(high))
    return _within(value, low, high)


def _marks(domain: AnyDomain) -> list[Value]:
    """Values to write at an axis: the choices, or the ends and the middle of the scale."""
    if isinstance(domain, Choice):
        return list(domain.choice)
    low, *_, high = (float(end) for end in domain.samples)
    if isinstance(domain, LogUniform | LogWhole):
        return [low, math.sqrt(low * high), high]
    return [low, (low + high) / 2, high]


def _scale(axes: Axes, place: int, marks: Sequence[tuple[float, Value]], title: str) -> None:
    axes.axvline(place, ymin=0.12 / 1.18, ymax=1.12 / 1.18, color="#555555", lw=1, zorder=3)
    for height, value in marks:
        text = value if isinstance(value, str) else f"{value:.3g}"
        axes.annotate(
            text,
            (place, height),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=8,
            va="center",
            zorder=6,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )
    axes.text(place, -0.1, title, ha="center", fontsize=9)


def _legend(table: pd.DataFrame) -> list[Line2D]:
    looks: list[tuple[str, float, Literal["-", "--"], str]] = [
        (BEST_COLOUR, 3.0, "-", "best"),
        (OWN_COLOUR, 2.0, "--", "shipped recipe"),
    ]
    if table[["SA", "RA"]].isna().all(axis=1).any():
        looks.append((LOST_COLOUR, 1.2, "-", "no score"))
    return [
        Line2D([], [], color=colour, linewidth=width, linestyle=stroke, label=label)
        for colour, width, stroke, label in looks
    ]
