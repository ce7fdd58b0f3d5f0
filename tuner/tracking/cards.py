"""Model cards: what a winning ticket is, why it wins, where it comes from, how to load it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from search_spaces.grid import TicketCell, TransferCell

Row = Mapping[Any, Any]
BY_PAPER = "double-win"
"""The registry's alias of the sparsest ticket by the paper's rule."""
BY_EVIDENCE = "within-margin"
"""That of the sparsest ticket shown to lose less than the study's margin."""
_SCORES = {
    "SA_standard": "accuracy (SA), standard training",
    "SA_adversarial": "accuracy (SA), adversarial training",
    "RA_adversarial": "robust accuracy (RA), adversarial training",
}


@dataclass(frozen=True)
class Winner:
    """The sparsest ticket of a theta, pruning and task by one rule or by both.

    model: its name in the registry; aliases: by which rules it wins; won, shown: the verdict's rows
    by one standard deviation and by non-inferiority, each about the level that its rule arrives at;
    acknowledged: flagged transfers behind the verdict, each with why its scores are held to be
    sound.
    """

    model: str
    aliases: tuple[str, ...]
    study: str
    cell: TicketCell
    task: str
    won: Row
    shown: Row
    acknowledged: Mapping[str, str]

    @property
    def scores(self) -> dict[str, float]:
        """Means and standard deviations at the ticket's level, `_dense` those of the dense network.
        By evidence alone there is no deviation: that rule has differences of means."""
        scores = {
            f"{score}{of}_{part}": self.won[f"{score}{of}_{part}"]
            for score in _SCORES
            for of in ("", "_dense")
            for part in ("mean", "std")
        }
        if BY_PAPER not in self.aliases:
            for score in _SCORES:
                mean = scores[f"{score}_dense_mean"] + self.shown[f"{score}_difference"]
                scores |= {f"{score}_mean": mean, f"{score}_std": math.nan}
        return scores


@dataclass(frozen=True)
class Files:
    """What of a ticket is on disk: `result`, its own; name: what its weights are called, theta or,
    where it does not rewind to theta, weights; weights: where they are, if they are too large to
    lie beside the mask; weights_sha256: their checksum."""

    result: Mapping[str, Any]
    name: str
    weights: str | None
    weights_sha256: str


def card(
    winner: Winner, files: Files, links: Mapping[str, str], network: TransferCell | None = None
) -> str:
    """The card, in Markdown; `links`: what is linked -> address; network: the transfer whose
    trained network is the registered model, if one is."""
    from analysis.tables.rules import level
    from analysis.tables.verdict import sentence

    stages: dict[str, list[float]] = {}
    for name, sparsity in files.result["layers"].items():
        stages.setdefault(name.split(".")[0], []).append(sparsity)
    by_paper = BY_PAPER in winner.aliases
    cards = Environment(loader=PackageLoader("tuner.tracking", "."), undefined=StrictUndefined)
    return cards.get_template("card.md.j2").render(
        winner=winner,
        row=winner.won if by_paper else winner.shown,
        by_paper=by_paper,
        by_papers_rule=level(winner.won),
        result=files.result,
        scores=_SCORES,
        shown=sentence(winner.shown),
        elsewhere=winner.shown["status"] == "confirmed" and BY_EVIDENCE not in winner.aliases,
        stages=stages,
        network=network,
        alias=winner.aliases[0],
        snippet=snippet(f"{winner.model}@{winner.aliases[0]}", files),
        weights_name=files.name,
        weights_sha256=files.weights_sha256,
        links=links,
    )


def snippet(version: str, files: Files) -> str:
    """Python that makes the state dict, `ticket`, of a version in the registry."""
    name = files.name
    path = f'"{files.weights}"' if files.weights else f'folder + "/{name}.safetensors"'
    return f"""\
from mlflow.artifacts import download_artifacts
from safetensors.torch import load_file

folder = download_artifacts("models:/{version}").rstrip("/")
{name}, mask = load_file({path}), load_file(folder + "/mask.safetensors")
ticket = {{name: w * mask[name] if name in mask else w for name, w in {name}.items()}}"""
