"""Loss landscapes around trained networks, from computed evidence (figures 2, 6 and A9)."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.figures.style import canvas
from analysis.tables.roles import theta_label
from search_spaces.errors import InputError
from search_spaces.grid import DENSE

IMAGES = ("clean", "attacked")
LABELS = ["dataset", "fraction", "theta", "pruning", "level", "sparsity", "regime", "seed"]
LEVELS = 15


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
    network, in random directions. Raises InputError if the evidence has no landscapes.
    """
    own = landscape[landscape["pruning"].isin([DENSE, main])] if len(landscape) else landscape
    if own.empty:
        raise InputError("the evidence holds no loss landscapes: python -m tuner evidence")
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
    which is white and ends at the star. A row of panels per dataset and data fraction, a column per
    theta and level; one logarithmic colour scale for all."""
    figure, panels = _panels(rows, 2.7)
    loss = rows.loc[rows["kind"] == kind, "loss"]
    low = max(float(loss.min()), 1e-3)
    high = max(float(loss.max()), 1.01 * low)
    norm = LogNorm(low, high)
    steps = np.geomspace(low, high, LEVELS)
    for axes, network in panels:
        own = network[network["kind"] == kind]
        grid = own.pivot(index="y", columns="x", values="loss").clip(lower=low)
        axes.contourf(grid.columns, grid.index, grid, levels=steps, cmap="viridis", norm=norm)
        lines = axes.contour(
            grid.columns, grid.index, grid, levels=steps[::2], colors="black", linewidths=0.4
        )
        axes.clabel(lines, fontsize=6, fmt="%.2g")
        path = network[network["kind"] == "path"]
        axes.plot(path["x"], path["y"], "o-", color="white", markersize=2.5, linewidth=1)
        end = path.iloc[-1][["x", "y"]] if len(path) else (0.0, 0.0)
        axes.plot(*end, "*", color="white", markeredgecolor="black", markersize=11)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("first principal direction", size=8)
        axes.set_ylabel("second principal direction", size=8)
    bar = figure.colorbar(_scale(norm), ax=[axes for axes, _ in panels], shrink=0.7)
    bar.set_label(f"cross-entropy on {kind} test images")
    return figure


def surfaces(rows: pd.DataFrame, kind: str) -> Figure:
    """The loss on clean or attacked test images over two random directions, in 3-D: panels as in
    `contours`, one scale of height and colour for all; above each its flatness."""
    figure, panels = _panels(rows, 3.0, projection="3d")
    loss = rows.loc[rows["kind"] == kind, "loss"]
    low, high = float(loss.min()), float(loss.max())
    for axes, network in panels:
        own = network[network["kind"] == kind]
        grid = own.pivot(index="y", columns="x", values="loss")
        x, y = np.meshgrid(grid.columns, grid.index)
        axes.plot_surface(x, y, grid.to_numpy(), cmap="viridis", vmin=low, vmax=high)  # type: ignore[attr-defined]
        axes.set_zlim(low, high)  # type: ignore[attr-defined]
        axes.tick_params(labelsize=6)
        rise = own["flatness"].iloc[0]
        axes.set_title(f"{axes.get_title()}\nmean rise {rise:.3g}", size=9)
        axes.set_xlabel("direction 1", size=7)
        axes.set_ylabel("direction 2", size=7)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=3))
        axes.set_zlabel(f"loss, {kind}", size=7)  # type: ignore[attr-defined]
    return figure


def _panels(
    rows: pd.DataFrame, size: float, projection: str | None = None
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """(figure, its used panels with the network of each): tasks down, networks across, titled."""
    tasks = list(rows.groupby(["dataset", "fraction"], sort=False))
    width = max(len(own.groupby(LABELS)) for _, own in tasks)
    figure = canvas(0.8 + 1.12 * size * width, 0.4 + size * len(tasks))
    grid = figure.subplots(len(tasks), width, squeeze=False, subplot_kw={"projection": projection})
    used = []
    for line, ((dataset, fraction), task) in zip(grid, tasks, strict=True):
        networks = [own for _, own in task.groupby(LABELS, sort=False)]
        order = {theta: place for place, theta in enumerate(dict.fromkeys(task["theta"]))}
        networks.sort(key=lambda own: order[own["theta"].iloc[0]])
        for axes, own in zip(line, networks, strict=False):
            first = own.iloc[0]
            at = f"{100 * first['sparsity']:.2f} % sparse" if first["level"] else "dense"
            share = "" if fraction == 1 else f", {fraction:.0%} of the data"
            axes.set_title(f"{dataset}{share}\n{theta_label(first['theta'])}, {at}", size=9)
            used.append((axes, own))
        for axes in line[len(networks) :]:
            axes.set_visible(False)
    return figure, used


def _scale(norm: LogNorm) -> ScalarMappable:
    return ScalarMappable(norm=norm, cmap="viridis")
