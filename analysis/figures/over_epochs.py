"""Accuracy under the training's own attack and under PGD, epoch by epoch."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import COLOURS, canvas
from search_spaces.errors import InputError


def collapse(probes: pd.DataFrame) -> Figure:
    """Accuracy on the held-out probe over epochs, from a table of `load.probe_curves`.

    A colour per dataset label, theta, source seed, pruning, level and seed; solid: PGD; dotted:
    FGSM, the training's own attack; a cross where the training was stopped. Raises InputError for
    an empty table.
    """
    if probes.empty:
        raise InputError("no transfer was watched for catastrophic overfitting: nothing to draw")
    figure = canvas(10, 4.5)
    axes = figure.subplots()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    names = ["dataset", "theta", "source_seed", "pruning", "level", "seed"]
    groups, several = probes.groupby(names, sort=False), probes["source_seed"].nunique() > 1
    for number, (name, rows) in enumerate(groups):
        colour = COLOURS[number % len(COLOURS)]
        dataset, theta, source, pruning, level, seed = name
        theta = f"{theta}@{source}" if several else theta
        ticket = pruning if level == 0 else f"{pruning} level {level}"
        label = f"{dataset}, {theta} {ticket}, seed {seed}"
        # Trainings are the same until one is stopped: earlier lines show behind later ones.
        width = max(1.5, 3.5 - number)
        for signal, stroke in (("PGD", "-"), ("FGSM", ":")):
            axes.plot(
                rows["epoch"],
                100 * rows[signal],
                stroke,
                color=colour,
                linewidth=width,
                label=f"{label}: {signal}",
            )
        if rows["state"].iloc[0] == "co_stopped":
            last = rows.iloc[-1]
            axes.plot(last["epoch"], 100 * last["PGD"], "X", color=colour, markersize=10)
    axes.set_xlabel("epoch (a cross: stopped)")
    axes.set_ylabel("accuracy on the probe, %")
    axes.set_ylim(-2, 102)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
