"""What masks look like, from computed evidence: overlap (A8) and kernels (A8, 7)."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import COLOURS, GREY, MARKERS, canvas, tidy
from search_spaces.errors import InputError


def a8_rows(similarity: pd.DataFrame, structure: pd.DataFrame, main: str) -> pd.DataFrame:
    """One row per line and level: panel (similarity or kernels), line, sparsity, value and chance.

    similarity: |mi and mj| / |mi or mj| of tickets of the main pruning from two pre-trainings, in
    [0, 1]; chance: of two random masks as dense. kernels: how many 2-D kernels are pruned whole.
    Raises InputError if there is nothing to draw.
    """
    parts = []
    if len(similarity):
        own = similarity[similarity["first_pruning"] == main]
        line = own["first_theta"] + " and " + own["second_theta"]
        wanted = {"line": line, "sparsity": own["first_sparsity"], "value": own["similarity"]}
        parts.append(pd.DataFrame({**wanted, "chance": own["by_chance"], "panel": "similarity"}))
    if len(structure):
        own = structure[structure["pruning"] == main]
        wanted = {"line": own["theta"], "sparsity": own["sparsity"], "value": own["kernels_pruned"]}
        parts.append(pd.DataFrame({**wanted, "chance": np.nan, "panel": "kernels"}))
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if rows.empty:
        raise InputError(f"a8: the evidence holds no masks of {main}: python -m tuner evidence")
    return rows


def a8(rows: pd.DataFrame) -> Figure:
    """Left: mask similarity of two pre-trainings over sparsity, dashed: by chance; right: kernels
    pruned whole, a line per pre-training."""
    figure = canvas(11, 4)
    for axes, panel in zip(figure.subplots(1, 2), ("similarity", "kernels"), strict=True):
        own, scale = rows[rows["panel"] == panel], 100 if panel == "similarity" else 1
        for number, (name, line) in enumerate(own.groupby("line", sort=False)):
            line = line.sort_values("sparsity")
            look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % 6]}
            x = 100 * line["sparsity"]
            axes.plot(x, scale * line["value"], markersize=4, label=str(name), **look)
            if panel == "similarity":
                axes.plot(x, scale * line["chance"], "--", color=look["color"], linewidth=0.8)
        axes.set_xlabel("sparsity, %")
        tidy(axes)
        axes.legend(fontsize=8, frameon=False)
    left, right = figure.axes
    left.set_ylabel("mask similarity, % (dashed: by chance)")
    right.set_ylabel("kernels pruned whole")
    return figure


def fig7_rows(
    structure: pd.DataFrame, arrays: Callable[[str], Mapping[str, np.ndarray]], main: str
) -> pd.DataFrame:
    """Shares of kept weights in every kernel of the largest common level of the main pruning: one
    row per kernel: theta, level, sparsity, stage, layer, out, in, kept in [0, 1].

    `arrays` opens the file of a record: layer -> weights kept per kernel (out, in).
    """
    own = structure[structure["pruning"] == main] if len(structure) else structure
    if own.empty:
        raise InputError(f"fig7: the evidence holds no masks of {main}: python -m tuner evidence")
    level = own.groupby("theta")["level"].max().min()
    parts = []
    for record in own[own["level"] == level].to_dict("records"):
        kept = arrays(str(record["file"]))
        for layer in record["layers"]:
            if layer["name"] not in kept or np.prod(layer["shape"][2:]) == 1:
                continue  # a 1 x 1 kernel is kept or not: no shares to see
            share = kept[layer["name"]] / np.prod(layer["shape"][2:])
            out, into = np.indices(share.shape)
            part = pd.DataFrame({"out": out.ravel(), "in": into.ravel(), "kept": share.ravel()})
            labels = {"theta": record["theta"], "level": level, "sparsity": record["sparsity"]}
            parts.append(part.assign(**labels, stage=layer["stage"], layer=layer["name"]))
    return pd.concat(parts, ignore_index=True)


def fig7(rows: pd.DataFrame) -> Figure:
    """A row of heat maps per pre-training, a column per residual stage (its last layer of kernels
    above 1 x 1): each kernel's share of kept weights, output channels down, inputs across."""
    thetas, stages = (list(dict.fromkeys(rows[name])) for name in ("theta", "stage"))
    figure = canvas(1 + 2.6 * len(stages), 0.8 + 2.6 * len(thetas))
    panels = figure.subplots(len(thetas), len(stages), squeeze=False)
    for line, theta in zip(panels, thetas, strict=True):
        for axes, stage in zip(line, stages, strict=True):
            _heat(axes, rows[(rows["theta"] == theta) & (rows["stage"] == stage)])
        line[0].set_ylabel(f"θ {theta}\noutput channel")
    for axes, stage in zip(panels[0], stages, strict=True):
        axes.set_title(stage, size=11)
    for axes in panels[-1]:
        axes.set_xlabel("input channel")
    bar = figure.colorbar(panels[0][0].images[0], ax=panels, shrink=0.6)
    bar.set_label(f"weights kept, at {100 * rows['sparsity'].iloc[0]:.2f} % sparsity", color=GREY)
    return figure


def _heat(axes: Axes, rows: pd.DataFrame) -> None:
    last = rows[rows["layer"] == rows["layer"].iloc[-1]]
    grid = last.pivot(index="out", columns="in", values="kept").to_numpy()
    axes.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto", interpolation="nearest")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
