"""Model cards: what a winning ticket is, why it wins, where it comes from, how to load it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from search_spaces.grid import TicketCell, TransferCell

Row = Mapping[Any, Any]
ALIAS = "double-win"
_SCORES = {
    "SA_standard": "accuracy (SA), standard training",
    "SA_adversarial": "accuracy (SA), adversarial training",
    "RA_adversarial": "robust accuracy (RA), adversarial training",
}


@dataclass(frozen=True)
class Winner:
    """The extreme double-win ticket of a theta, pruning and task, and what makes it one.

    model: its name in the registry; won, shown: its rows of the verdict by one standard deviation
    and by non-inferiority; acknowledged: flagged transfers behind the verdict, each with why its
    scores are held to be sound.
    """

    model: str
    study: str
    cell: TicketCell
    task: str
    won: Row
    shown: Row
    acknowledged: Mapping[str, str]


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
    from analysis.tables.verdict import sentence

    stages: dict[str, list[float]] = {}
    for name, sparsity in files.result["layers"].items():
        stages.setdefault(name.split(".")[0], []).append(sparsity)
    shown, won = winner.shown, winner.won
    cards = Environment(loader=PackageLoader("tuner.tracking", "."), undefined=StrictUndefined)
    return cards.get_template("card.md.j2").render(
        winner=winner,
        won=won,
        result=files.result,
        scores=_SCORES,
        shown=sentence(shown),
        elsewhere=shown["status"] == "confirmed" and shown["level"] != won["level"],
        stages=stages,
        network=network,
        alias=ALIAS,
        snippet=snippet(winner.model, files),
        weights_name=files.name,
        weights_sha256=files.weights_sha256,
        links=links,
    )


def snippet(model: str, files: Files) -> str:
    """Python that makes the ticket's state dict, `ticket`."""
    name = files.name
    path = f'"{files.weights}"' if files.weights else f'folder + "/{name}.safetensors"'
    return f"""\
from mlflow.artifacts import download_artifacts
from safetensors.torch import load_file

folder = download_artifacts("models:/{model}@{ALIAS}").rstrip("/")
{name}, mask = load_file({path}), load_file(folder + "/mask.safetensors")
ticket = {{name: w * mask[name] if name in mask else w for name, w in {name}.items()}}"""
