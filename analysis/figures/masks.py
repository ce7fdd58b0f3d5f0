"""What masks look like, from computed evidence: overlap (A8) and kernels (A8, 7)."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import COLOURS, GREY, MARKERS, canvas, tidy
from analysis.tables.roles import theta_label
from search_spaces.errors import InputError

WIDEST = 8
"""Layers side by side in figure 7."""
KERNELS = colormaps["viridis_r"].with_extremes(bad="white")


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
            label = " and ".join(theta_label(theta) for theta in str(name).split(" and "))
            axes.plot(x, scale * line["value"], markersize=4, label=label, **look)
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
    structure: pd.DataFrame,
    arrays: Callable[[str], Mapping[str, np.ndarray]],
    main: str,
    level: int | None = None,
) -> pd.DataFrame:
    """Shares of kept weights in every kernel at one level of the main pruning, by default the
    largest that all pre-trainings have: one row per kernel: theta, level, sparsity, stage, layer,
    out, in, kept in [0, 1]; of a 1 x 1 kernel that is 0 or 1.

    `arrays` opens the file of a record: layer -> weights kept per kernel (out, in). Raises
    InputError if the evidence holds no mask there.
    """
    own = structure[structure["pruning"] == main] if len(structure) else structure
    if own.empty:
        raise InputError(f"fig7: the evidence holds no masks of {main}: python -m tuner evidence")
    chosen = own.groupby("theta")["level"].max().min() if level is None else level
    if not (own["level"] == chosen).any():
        known = ", ".join(map(str, sorted(own["level"].unique())))
        raise InputError(f"fig7: the evidence holds no mask at level {chosen}: it has {known}")
    parts = []
    for record in own[own["level"] == chosen].to_dict("records"):
        kept = arrays(str(record["file"]))
        for layer in record["layers"]:
            if layer["name"] not in kept:
                continue
            share = kept[layer["name"]] / np.prod(layer["shape"][2:])
            out, into = np.indices(share.shape)
            part = pd.DataFrame({"out": out.ravel(), "in": into.ravel(), "kept": share.ravel()})
            labels = {"theta": record["theta"], "level": chosen, "sparsity": record["sparsity"]}
            parts.append(part.assign(**labels, stage=layer["stage"], layer=layer["name"]))
    return pd.concat(parts, ignore_index=True)


def fig7(rows: pd.DataFrame) -> Figure:
    """A block of heat maps per pre-training, one per layer: each kernel's share of kept weights,
    output channels down, inputs across; kernels that are pruned whole are white."""
    thetas, layers = (list(dict.fromkeys(rows[name])) for name in ("theta", "layer"))
    width = min(len(layers), WIDEST)
    deep = -(-len(layers) // width)
    figure = canvas(1 + 1.5 * width, 0.9 + 1.7 * deep * len(thetas))
    panels = figure.subplots(deep * len(thetas), width, squeeze=False)
    for number, theta in enumerate(thetas):
        block = panels[number * deep : (number + 1) * deep].ravel()
        for axes, layer in zip(block, layers, strict=False):
            _heat(axes, rows[(rows["theta"] == theta) & (rows["layer"] == layer)])
            axes.set_title(layer.removesuffix(".weight"), size=7)
        for axes in block[len(layers) :]:
            axes.set_visible(False)
        block[0].set_ylabel(f"{theta_label(theta)}\noutput channel", size=9)
        block[0].set_xlabel("input channel", size=8)
    bar = figure.colorbar(panels[0][0].images[0], ax=panels, shrink=0.6)
    sparsity = 100 * rows["sparsity"].iloc[0]
    bar.set_label(f"weights kept, at {sparsity:.2f} % sparsity (white: none)", color=GREY)
    return figure


def _heat(axes: Axes, rows: pd.DataFrame) -> None:
    grid = rows.pivot(index="out", columns="in", values="kept").to_numpy()
    shares = np.ma.masked_equal(grid, 0)
    axes.imshow(shares, vmin=0, vmax=1, cmap=KERNELS, aspect="auto", interpolation="nearest")
    axes.tick_params(labelsize=6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=3, integer=True, min_n_ticks=1))
