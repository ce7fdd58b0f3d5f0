"""Loss landscapes around trained networks, from computed evidence (figures 6 and A9)."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import canvas
from search_spaces.errors import InputError
from search_spaces.grid import DENSE

IMAGES = ("clean", "attacked")
LABELS = ["theta", "pruning", "level", "sparsity", "dataset", "regime", "seed"]


def landscape_rows(
    landscape: pd.DataFrame,
    arrays: Callable[[str], Mapping[str, np.ndarray]],
    plane: str,
    main: str,
) -> pd.DataFrame:
    """One row per network, image kind and grid point: x, y and loss; plane: random or path.

    Of each theta and dataset the dense network and the sparsest ticket of the main pruning, trained
    adversarially where there are such. The training's path (epochs, projected by PCA) are the rows
    of kind path, without loss. flatness: the mean rise of the loss around the network, in random
    directions. Raises InputError if the evidence has no landscapes.
    """
    own = landscape[landscape["pruning"].isin([DENSE, main])] if len(landscape) else landscape
    if own.empty:
        raise InputError("the evidence holds no loss landscapes: python -m tuner evidence")
    robust = own[own["regime"] != "standard"]
    chosen = robust if len(robust) else own
    ends = chosen.sort_values("level").groupby(["theta", "dataset"], sort=False)
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


def landscapes(rows: pd.DataFrame) -> Figure:
    """A row of panels per network, clean test images left, attacked ones right: contours of the
    loss, the training's path where there is one (white; the end is at the star)."""
    networks = list(rows.groupby(LABELS, sort=False))
    figure = canvas(9, 0.5 + 3.2 * len(networks))
    panels = figure.subplots(len(networks), 2, squeeze=False)
    for line, (_, network) in zip(panels, networks, strict=True):
        label = network.iloc[0]
        share = f" {100 * label['sparsity']:.2f} %" if label["level"] else ""
        path = network[network["kind"] == "path"]
        for axes, kind in zip(line, IMAGES, strict=True):
            own = network[network["kind"] == kind]
            loss = own.pivot(index="y", columns="x", values="loss")
            filled = axes.contourf(loss.columns, loss.index, loss, levels=20, cmap="viridis")
            figure.colorbar(filled, ax=axes, shrink=0.8)
            if len(path):
                axes.plot(path["x"], path["y"], "o-", color="white", markersize=3)
            end = path.iloc[-1][["x", "y"]] if len(path) else (0.0, 0.0)
            axes.plot(*end, "*", color="white", markeredgecolor="black", markersize=12)
            axes.set_title(f"{kind} images, mean rise {own['flatness'].iloc[0]:.3g}", size=10)
        line[0].set_ylabel(f"θ {label['theta']}, {label['pruning']}{share}\n{label['dataset']}")
    return figure
