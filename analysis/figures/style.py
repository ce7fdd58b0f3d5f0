"""What all figures share: colours, lines with bands, stars, axes, files."""

from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from analysis.verdict.one_std import METRICS, extreme, levels_table
from search_spaces.errors import InputError

Stroke = Literal["-", "-.", ":"]

SUFFIXES = (".png", ".pdf", ".svg")

# Okabe and Ito's colours, safe for colour-blind readers; red is kept for random tickets.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
RANDOM_COLOUR = "#D62728"
MARKERS = ("o", "s", "^", "D", "v", "P")
RANDOM_MARKERS = ("x", "s", "^", "D", "v", "o")
STROKES: tuple[Stroke, ...] = ("-", "-.", ":")
GREY = "#555555"
CURVE = ["theta", "pruning", "dataset", "fraction"]
MANY_LEVELS = 12
STAR: dict[str, Any] = {
    "linestyle": "none",
    "marker": "*",
    "markersize": 14,
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "zorder": 4,
}
_DOTS: dict[str, Any] = {"marker": "o", "markersize": 3}
SMALLEST_TYPE = 6.0
"""Points: what is still read in print."""
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def placed(table: pd.DataFrame) -> pd.DataFrame:
    """The levels table with `x`, each sparsity's place on an evenly spaced axis, and `extreme`,
    whether the level is the extreme double win of its curve.

    Raises InputError if no pruned ticket has a score.
    """
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


def draw_line(axes: Axes, curve: pd.DataFrame, metric: str, colour: str, **look: Any) -> None:
    """The mean of a metric over places in percent, and a band of one standard deviation."""
    mean, std = 100 * curve[f"{metric}_mean"], 100 * curve[f"{metric}_std"]
    std = std.fillna(0).where(mean.notna())
    axes.fill_between(curve["x"], mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    axes.plot(curve["x"], mean, color=colour, **_DOTS | look)


def draw_star(axes: Axes, curve: pd.DataFrame, metric: str, colour: str) -> None:
    """A star at the extreme double win of a curve, if it has one."""
    star = curve[curve["extreme"]]
    if star.empty:
        return
    mean = 100 * star[f"{metric}_mean"]
    axes.plot(star["x"], mean, **STAR | {"markerfacecolor": colour})


def draw_dense(axes: Axes, curve: pd.DataFrame, metric: str, colour: str) -> None:
    """The dense mean as a dashed line across, if the curve has a dense network."""
    dense = curve.loc[curve["level"] == 0, f"{metric}_mean"].dropna()
    if len(dense):
        axes.axhline(100 * dense.iloc[0], color=colour, linewidth=0.8, linestyle="--", zorder=1)


def dense_key() -> Line2D:
    """The legend's line for the dense mean."""
    return Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label="dense mean")


def star_key() -> Line2D:
    """The legend's star."""
    return Line2D([], [], **STAR | {"markerfacecolor": GREY, "label": "extreme double win"})


def label_levels(axes: Axes, levels: pd.DataFrame) -> None:
    """Sparsities in percent below the axis; of many only every other one."""
    ladder = levels.drop_duplicates("x").sort_values("x")
    shown = ladder.iloc[:: 2 if len(ladder) > MANY_LEVELS else 1]
    axes.set_xticks(list(shown["x"]), [f"{100 * share:.2f}" for share in shown["sparsity"]])
    axes.tick_params(axis="x", rotation=45 if len(ladder) > 5 else 0)
    axes.set_xlabel("sparsity, %")


def tidy(axes: Axes) -> None:
    """A light grid, and no frame above and right."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def resize(figure: Figure, width: float) -> None:
    """Gives a figure another width in inches; a narrower one is lower in proportion. Type shrinks
    less than the figure does and stays at 6 points or more, so that it can be read at that width.
    """
    wide, high = figure.get_size_inches()
    scale = min(1.0, (width / wide) ** 0.5)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(max(SMALLEST_TYPE, scale * text.get_fontsize()))
    for axes in figure.axes:
        sizes = [label.get_fontsize() for label in axes.get_xticklabels()] or [10.0]
        axes.tick_params(labelsize=max(SMALLEST_TYPE, sizes[0]))
    figure.set_size_inches(width, max(1.5, high * min(1.0, width / wide)))


def check_path(path: Path) -> None:
    """Makes the figure's folder; raises InputError unless its name ends in .png, .pdf or .svg and
    the folder can be made."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"figure {path}: the name must end in one of {', '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"figure {path}: its folder cannot be made: {error.strerror}") from None


def content(figure: Figure, name: str) -> bytes:
    """A figure as a file of the kind that its name ends in: .png, .pdf or .svg."""
    path, picture = Path(name), BytesIO()
    # The same figure gives the same file: no date in it; text stays text, in TrueType fonts, which
    # journals ask for.
    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none", "pdf.fonttype": 42}):
        metadata = _UNDATED.get(path.suffix.lower())
        figure.savefig(picture, format=path.suffix.lower()[1:], dpi=150, metadata=metadata)
    return picture.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; raises InputError as check_path does, or if the file cannot be written."""
    check_path(path)
    try:
        path.write_bytes(content(figure, path.name))
    except OSError as error:
        raise InputError(f"figure {path}: cannot be written: {error.strerror}") from None
