"""Loss landscapes around trained networks, from computed evidence (figures 2, 6 and A9)."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from analysis.figures.style import canvas
from analysis.tables.roles import theta_label
from analysis.tables.text import task_title
from search_spaces.errors import InputError
from search_spaces.grid import DENSE

IMAGES = ("clean", "attacked")
LABELS = ["dataset", "fraction", "theta", "pruning", "level", "sparsity", "regime", "seed"]
LEVELS = 15
SHADES = "viridis"


def landscape_rows(
    landscape: pd.DataFrame,
    arrays: Callable[[str], Mapping[str, NDArray[np.float64]]],
    plane: str,
    main: str,
) -> pd.DataFrame:
    """One row per network, image kind and grid point: x, y and loss; plane: random or path.

    Of each theta, dataset and data fraction the dense network and the sparsest ticket of the main
    pruning, trained adversarially where there are such. The training's path (epochs, projected by
    PCA) are the rows of kind path, without loss. flatness: the mean rise of the loss around the
    network, in random directions. Raises InputError if the evidence has no landscapes, or none with
    a path that is wanted.
    """
    own = landscape[landscape["pruning"].isin([DENSE, main])] if len(landscape) else landscape
    if own.empty:
        raise InputError("the evidence holds no loss landscapes: python -m tuner evidence")
    if plane == "path":
        own = own[own["explained"].notna()] if "explained" in own else own.iloc[:0]
        if own.empty:
            raise InputError("the evidence holds no paths: python -m tuner evidence --paths")
    robust = own[own["regime"] != "standard"]
    chosen = robust if len(robust) else own
    ends = chosen.sort_values("level").groupby(["theta", "dataset", "fraction"], sort=False)
    parts = []
    for record in pd.concat([ends.head(1), ends.tail(1)]).drop_duplicates("key").to_dict("records"):
        labels = {label: record[label] for label in LABELS}
        file = arrays(str(record["file"]))
        x, y = np.meshgrid(file[f"{plane}_x"], file[f"{plane}_y"])
        for kind in IMAGES:
            surface = {"x": x.ravel(), "y": y.ravel(), "loss": file[f"{plane}_{kind}"].ravel()}
            flat = {"kind": kind, "flatness": record[f"{kind}_mean_rise"]}
            parts.append(pd.DataFrame(surface).assign(**labels, **flat))
        if plane == "path":
            path = pd.DataFrame({"x": file["path"][:, 0], "y": file["path"][:, 1]})
            parts.append(path.assign(**labels, kind="path"))
    return pd.concat(parts, ignore_index=True)


def contours(rows: pd.DataFrame, kind: str) -> Figure:
    """Contours of the loss on clean or attacked test images in the plane of the training's path,
    which is white and ends at the star. Of each task a row of panels for the dense networks and one
    for the tickets, a column per theta; one logarithmic colour scale for all."""
    figure, tasks = _panels(rows, 2.7)
    loss = rows.loc[rows["kind"] == kind, "loss"]
    low = max(float(loss.min()), 1e-3)
    high = max(float(loss.max()), 1.01 * low)
    norm = LogNorm(low, high)
    steps = np.geomspace(low, high, LEVELS)
    for part, panels in tasks:
        for axes, network in panels:
            own = network[network["kind"] == kind]
            grid = own.pivot(index="y", columns="x", values="loss").clip(lower=low)
            x, y = grid.columns, grid.index
            axes.contourf(x, y, grid, levels=steps, cmap=SHADES, norm=norm)
            lines = axes.contour(x, y, grid, levels=steps[::3], colors="black", linewidths=0.4)
            axes.clabel(lines, fontsize=6, fmt="%.2g")
            path = network[network["kind"] == "path"]
            axes.plot(path["x"], path["y"], "o-", color="white", markersize=2, linewidth=1)
            end = path.iloc[-1][["x", "y"]] if len(path) else (0.0, 0.0)
            axes.plot(*end, "*", color="white", markeredgecolor="black", markersize=9)
            axes.tick_params(labelsize=7)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
        part.supxlabel("first principal direction of the training's path", size=8)
        part.supylabel("second principal direction", size=8)
        _bar(part, panels, norm, kind, LogLocator(subs=(1, 2, 5)))
    return figure


def surfaces(rows: pd.DataFrame, kind: str) -> Figure:
    """The loss on clean or attacked test images over two random directions, in 3-D: panels as in
    `contours`, one scale of height and colour for all; above each its flatness."""
    figure, tasks = _panels(rows, 2.7, projection="3d")
    loss = rows.loc[rows["kind"] == kind, "loss"]
    norm = Normalize(float(loss.min()), float(loss.max()))
    for part, panels in tasks:
        for axes, network in panels:
            own = network[network["kind"] == kind]
            grid = own.pivot(index="y", columns="x", values="loss")
            x, y = np.meshgrid(grid.columns, grid.index)
            axes.plot_surface(x, y, grid.to_numpy(), cmap=SHADES, norm=norm)  # type: ignore[attr-defined]
            axes.set_zlim(norm.vmin, norm.vmax)  # type: ignore[attr-defined]
            rise = own["flatness"].iloc[0]
            axes.set_title(f"{axes.get_title()}\nmean rise {rise:.2g}", size=9)
            # The directions are random and alike in all panels: their ends say it all. What heights
            # mean is read off the colours, which does not clutter small panels.
            axes.set_xticks([-1, 0, 1])
            axes.set_yticks([-1, 0, 1])
            axes.set_zticklabels([])  # type: ignore[attr-defined]
            axes.tick_params(labelsize=6, pad=-4)
        _bar(part, panels, norm, kind, MaxNLocator(nbins=6))
    return figure


Panels = list[tuple[Axes, pd.DataFrame]]


def _panels(
    rows: pd.DataFrame, size: float, projection: str | None = None
) -> tuple[Figure, list[tuple[SubFigure, Panels]]]:
    """(figure, for each task its part of the figure and the panels used in it, with the network
    that each shows): dense networks above, tickets below, a column per theta."""
    tasks = list(rows.groupby(["dataset", "fraction"], sort=False))
    wide = max(task["theta"].nunique() for _, task in tasks)
    deep = max((task["level"] > 0).nunique() for _, task in tasks)
    figure = canvas(1.3 + size * wide, len(tasks) * (0.6 + size * deep))
    parts = figure.subfigures(len(tasks), 1, squeeze=False)[:, 0]
    return figure, [
        (part, _fill(part, task, task_title(task), projection))
        for part, (_, task) in zip(parts, tasks, strict=True)
    ]


def _fill(part: SubFigure, task: pd.DataFrame, title: str, projection: str | None) -> Panels:
    thetas, ends = list(dict.fromkeys(task["theta"])), sorted((task["level"] > 0).unique())
    grid = part.subplots(
        len(ends), len(thetas), squeeze=False, subplot_kw={"projection": projection}
    )
    part.suptitle(title, size=10)
    used = []
    for line, pruned in zip(grid, ends, strict=True):
        for axes, theta in zip(line, thetas, strict=True):
            own = task[(task["theta"] == theta) & ((task["level"] > 0) == pruned)]
            if own.empty:
                axes.set_visible(False)
                continue
            at = f"{100 * own['sparsity'].iloc[0]:.2f} %" if pruned else "dense"
            axes.set_title(f"{theta_label(theta)}, {at}", size=9)
            used.append((axes, own))
    return used


def _bar(part: SubFigure, panels: Panels, norm: Normalize, kind: str, ticks: Locator) -> None:
    """The scale of colours, for all panels of a part."""
    shades = ScalarMappable(norm=norm, cmap=SHADES)
    bar = part.colorbar(shades, ax=[axes for axes, _ in panels], ticks=ticks, format="%.3g")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.ax.tick_params(labelsize=8)
    bar.set_label(f"cross-entropy, {kind} test images", size=8)
