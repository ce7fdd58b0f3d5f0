"""What all figures share: colours, lines with bands, marks of both rules, axes, files."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from analysis.verdict.flags import arrived, verdicts
from analysis.verdict.one_std import METRICS, levels_table
from analysis.verdict.results import Results
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
MANY_LEVELS = 12
STAR: dict[str, Any] = {
    "linestyle": "none",
    "marker": "*",
    "markersize": 14,
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "zorder": 4,
}
RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 13,
    "markerfacecolor": "none",
    "markeredgewidth": 1.5,
    "zorder": 5,
}
NO_FLAGS = pd.DataFrame()
_DOTS: dict[str, Any] = {"marker": "o", "markersize": 3}
SMALLEST_TYPE = 6.0
"""Points: what is still read in print."""
_UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def placed(results: Results, flags: pd.DataFrame = NO_FLAGS) -> pd.DataFrame:
    """The levels table with `x`, each sparsity's place on an evenly spaced axis, and what each rule
    arrives at: `extreme`, whether a pruned level is its curve's extreme double win by the paper's
    rule, and `shown`, whether it is the sparsest one shown to stay within the margin. Where an open
    flag of the evidence stands, it is neither.

    Raises InputError if no pruned ticket has a score.
    """
    levels = levels_table(results.expected)
    counts = levels.loc[levels["level"] > 0, [f"{metric.name}_n" for metric in METRICS]]
    if not (counts > 0).any(axis=None):
        raise InputError("curves: no transfer of a pruned ticket has a score yet")
    # Prunings may differ in rate; nine digits tell levels apart, not last bits.
    sparsity = levels["sparsity"].round(9)
    places = {share: x for x, share in enumerate(sorted(sparsity.unique()))}
    judged, shown = verdicts(results, flags)
    marks = {"extreme": arrived(levels, judged), "shown": arrived(levels, shown)}
    return levels.assign(x=sparsity.map(places), **marks)


def draw_line(axes: Axes, curve: pd.DataFrame, metric: str, colour: str, **look: Any) -> None:
    """The mean of a metric over places in percent, and a band of one standard deviation; a bar
    where there is one place alone."""
    mean, std = 100 * curve[f"{metric}_mean"], 100 * curve[f"{metric}_std"]
    std = std.fillna(0).where(mean.notna())
    axes.fill_between(curve["x"], mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    if mean.notna().sum() == 1:
        axes.errorbar(curve["x"], mean, std, color=colour, linestyle="none", capsize=2, linewidth=1)
    axes.plot(curve["x"], mean, color=colour, **_DOTS | look)


def draw_marks(axes: Axes, curve: pd.DataFrame, metric: str, colour: str) -> None:
    """What each rule arrives at on a curve, if anything: a star by the paper's, a ring round the
    sparsest level that is shown to stay within the margin."""
    looks = {
        "extreme": STAR | {"markerfacecolor": colour},
        "shown": RING | {"markeredgecolor": colour},
    }
    for column, look in looks.items():
        marked = curve[curve[column]]
        if len(marked):
            axes.plot(marked["x"], 100 * marked[f"{metric}_mean"], **look)


def draw_dense(axes: Axes, curve: pd.DataFrame, metric: str, colour: str) -> None:
    """The dense mean as a dashed line across, if the curve has a dense network."""
    dense = curve.loc[curve["level"] == 0, f"{metric}_mean"].dropna()
    if len(dense):
        axes.axhline(100 * dense.iloc[0], color=colour, linewidth=0.8, linestyle="--", zorder=1)


def dense_key() -> Line2D:
    """The legend's line for the dense mean."""
    return Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label="dense mean")


def mark_keys(levels: pd.DataFrame) -> list[Line2D]:
    """The legend's star and ring, as far as there are such among the levels."""
    looks = {
        "extreme": STAR | {"markerfacecolor": GREY, "label": "extreme (paper's rule)"},
        "shown": RING | {"markeredgecolor": GREY, "label": "shown within the margin"},
    }
    return [Line2D([], [], **look) for column, look in looks.items() if levels[column].any()]


def legend(figure: Figure, keys: Sequence[Artist]) -> None:
    """A legend above the panels, in as many columns as the figure is wide."""
    columns = max(2, min(len(keys), int(figure.get_figwidth() / 1.9)))
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "handlelength": 1.5}
    figure.legend(handles=keys, loc="outside upper center", ncols=columns, columnspacing=1, **look)


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
    """Gives a figure another width in inches; a narrower one is lower. Type shrinks less than the
    figure does and stays at 6 points or more, so that it can be read at that width."""
    wide, high = map(float, figure.get_size_inches())
    scale = min(1.0, (width / wide) ** 0.5)

    def readable(text: Text) -> float:
        return float(max(SMALLEST_TYPE, scale * float(text.get_fontsize())))

    # Labels of ticks are made anew when a figure is drawn: it is the axis that holds their size.
    sizes = [
        (axis, readable(label))
        for axes in figure.axes
        for axis in (getattr(axes, f"{name}axis", None) for name in "xyz")
        if axis is not None
        for label in axis.get_ticklabels()[:1]
    ]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(readable(text))
    for axis, size in sizes:
        axis.set_tick_params(labelsize=size)
    # What type needs of the height does not shrink as much as the panels do.
    figure.set_size_inches(width, max(1.5, high * scale**1.5))


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
