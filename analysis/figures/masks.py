"""What masks look like, from computed evidence: overlap (A8) and kernels (A8, 7)."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import COLOURS, GREY, MARKERS, canvas, tidy
from analysis.tables.roles import theta_label
from search_spaces.errors import InputError

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
    """Above: mask similarity of two pre-trainings over sparsity, dashed: by chance; below: kernels
    pruned whole, a line per pre-training."""
    figure = canvas(6, 7)
    for axes, panel in zip(figure.subplots(2, 1), ("similarity", "kernels"), strict=True):
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
    above, below = figure.axes
    above.set_ylabel("mask similarity, %")
    below.set_ylabel("kernels pruned whole")
    chance = Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label="by chance")
    lines, _ = above.get_legend_handles_labels()
    # Similarity falls with sparsity and the number of kernels rises: that leaves these corners.
    above.legend(handles=[*lines, chance], fontsize=8, frameon=False, loc="upper right", ncols=2)
    above.set_ylim(0, 105)
    below.legend(fontsize=8, frameon=False, loc="upper left")
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
    """A row of heat maps per layer, a column per pre-training: each kernel's share of kept weights,
    output channels down, inputs across; kernels that are pruned whole are white."""
    thetas, layers = (list(dict.fromkeys(rows[name])) for name in ("theta", "layer"))
    figure = canvas(2 + 1.7 * len(thetas), 1.2 + 0.9 * len(layers))
    panels = figure.subplots(len(layers), len(thetas), squeeze=False)
    for line, layer in zip(panels, layers, strict=True):
        for axes, theta in zip(line, thetas, strict=True):
            own = rows[(rows["theta"] == theta) & (rows["layer"] == layer)]
            grid = np.ma.masked_equal(own.pivot(index="out", columns="in", values="kept"), 0)
            axes.imshow(grid, vmin=0, vmax=1, cmap=KERNELS, aspect="auto", interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            shape = f"{grid.shape[0]} x {grid.shape[1]}"
        name = f"{layer.removesuffix('.weight')}\n{shape}"
        line[0].set_ylabel(name, size=8, rotation=0, ha="right", va="center")
    for axes, theta in zip(panels[0], thetas, strict=True):
        axes.set_title(theta_label(theta), size=10)
    bar = figure.colorbar(panels[0][0].images[0], ax=panels, location="bottom", aspect=40)
    sparsity = 100 * rows["sparsity"].iloc[0]
    below = "rows: output channels, columns: input channels"
    bar.set_label(f"weights kept, at {sparsity:.2f} % sparsity (white: none)\n{below}", size=8)
    bar.ax.tick_params(labelsize=8)
    return figure
