"""Scores of a network, as people read them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from trainables.judging.strangers import Score, Stranger


def table(scores: "Sequence[Score]") -> None:
    """Prints accuracies in percent with their intervals; below corruptions' mean, each of them."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    shown.add_column("measure")
    for title in ("accuracy", "95 % interval", "images"):
        shown.add_column(title, justify="right")
    for score in scores:
        low, high = (f"{100 * end:.2f}" for end in (score.low, score.high))
        share = f"{100 * score.accuracy:.2f} %"
        shown.add_row(score.measure, share, f"{low} to {high}", f"{score.images:,}")
        for name, shares in (score.record or {}).get("by", {}).items():
            shown.add_row(f"  {name}", f"{100 * sum(shares) / len(shares):.2f} %")
    Console(highlight=False).print(shown)


def pixels(judged: "Stranger") -> str:
    """How pixels are normalised, in a few words."""
    mean, std = judged.normalisation
    if not any(mean) and set(std) == {1.0}:
        return "not normalised"
    each_of = [", ".join(f"{x:.4g}" for x in each) for each in (mean, std)]
    return "normalised by mean {}, std {}".format(*each_of)
