"""Who ran when: a study's chains and transfers over time, from a table of `spans.spans`."""

from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.style import COLOURS, canvas, tidy

PAUSE_SECONDS = 60.0
"""With nothing at work for longer, a run was interrupted: that time is left out."""


@dataclass(frozen=True)
class Overlap:
    """How a run's stages lay over each other, in seconds from its first training.

    first_source, last_source: when the first and the last of its thetas and tickets were made;
    first_transfer: when it began; slots: the most transfers that ran side by side; busy: the share
    of so many slots that a transfer or a chain was at work in, from first_source to the end.
    """

    wall: float
    first_source: float
    last_source: float
    first_transfer: float
    slots: int
    busy: float


def placed(spans: pd.DataFrame) -> pd.DataFrame:
    """The spans in seconds from the first one's begin, less pauses, each with the `lane` it is
    drawn in: its theta's for what a chain makes, one of its host's for a transfer."""
    rows = []
    free: dict[str, float] = {}
    origin = end = spans["begin"].min()
    for span in spans.sort_values("begin").to_dict("records"):
        if span["begin"] > end + PAUSE_SECONDS:
            origin += span["begin"] - end
        end = max(end, span["end"])
        lane, number = f"{span['theta']}: source", 1
        if span["stage"] == "transfer":
            while free.get(lane := f"{span['host']} {number}", origin) > span["begin"]:
                number += 1
            free[lane] = span["end"]
        times = {"begin": span["begin"] - origin, "end": span["end"] - origin}
        rows.append(span | times | {"lane": lane})
    return pd.DataFrame(rows)


def overlap(rows: pd.DataFrame) -> Overlap:
    """The numbers of a table of `placed` that holds both stages."""
    moves = rows["stage"] == "transfer"
    source, transfers = rows[~moves], rows[moves]
    slots = max(count for *_, count in _at_work(transfers))
    first, wall = source["end"].min(), rows["end"].max()
    full = sum(
        (till - max(since, first)) * min(count, slots)
        for since, till, count in _at_work(rows)
        if till > first
    )
    return Overlap(
        wall=wall,
        first_source=first,
        last_source=source["end"].max(),
        first_transfer=transfers["begin"].min(),
        slots=slots,
        busy=full / (slots * (wall - first)),
    )


def _at_work(rows: pd.DataFrame) -> list[tuple[float, float, int]]:
    """(since, till, how many spans lie over that time), one after another."""
    begins, ends = rows["begin"].to_numpy(), rows["end"].to_numpy()
    changes = sorted({*begins, *ends})
    return [
        (since, till, int(((begins <= since) & (ends > since)).sum()))
        for since, till in pairwise(changes)
    ]


def timeline(rows: pd.DataFrame) -> Figure:
    """A bar for each span of a table of `placed`: a lane for each chain, then one for each transfer
    that runs beside others; in its theta's colour, transfers lighter."""
    thetas = list(dict.fromkeys(rows["theta"]))
    colours = {theta: COLOURS[n % len(COLOURS)] for n, theta in enumerate(thetas)}
    ahead = rows["stage"].eq("transfer").groupby(rows["lane"]).min()
    lanes = sorted(ahead.index, key=lambda lane: (ahead[lane], _natural(lane)))
    figure = canvas(10, 1.2 + 0.3 * len(lanes))
    axes = figure.subplots()
    for (lane, theta, stage), spans in rows.groupby(["lane", "theta", "stage"]):
        axes.broken_barh(
            list(zip(spans["begin"], spans["end"] - spans["begin"], strict=True)),
            (lanes.index(lane) - 0.4, 0.8),
            facecolors=colours[theta],
            alpha=0.55 if stage == "transfer" else 1.0,
            edgecolor="white",
            linewidth=0.4,
        )
    tidy(axes)
    axes.set_yticks(range(len(lanes)), lanes)
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the first training began")
    axes.legend(
        handles=[Patch(color=colours[theta], label=theta) for theta in thetas],
        fontsize=8,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return figure


def _natural(lane: str) -> tuple[str, int]:
    """A key that sorts the lanes of a host by their numbers."""
    name, _, number = lane.rpartition(" ")
    return (name, int(number)) if number.isdecimal() else (lane, 0)
