"""What of a study gets a run in MLflow, and what the run says: tags, parameters, metrics."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces import trials
from search_spaces.base import Spec
from search_spaces.grid import DENSE, Grid, ThetaCell, TicketCell, TransferCell
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.study import Study
from search_spaces.trials import Trial

Labels = dict[str, str | int | float]


@dataclass(frozen=True)
class Entry:
    """A result of a study by its content key, and how its MLflow run is called."""

    key: str
    stage: str
    name: str
    spec: Theta | Ticket | Transfer | Trial
    labels: Labels


def entries(of: Grid) -> dict[str, Entry]:
    """Everything of a study that gets a run, by content key."""
    thetas = {name: _theta_entry(cell) for name, cell in of.thetas.items()}
    tickets = {name: _ticket_entry(cell) for name, cell in of.tickets.items()}
    transfers = {name: transfer_entry(cell) for name, cell in of.transfers.items()}
    return {**thetas, **tickets, **transfers}


def _theta_entry(cell: ThetaCell) -> Entry:
    labels: Labels = {"theta": cell.pretraining, "source_seed": cell.theta.seed}
    return Entry(cell.key, "pretraining", f"theta {cell.name}", cell.theta, labels)


def _ticket_entry(cell: TicketCell) -> Entry:
    labels: Labels = {
        "theta": cell.pretraining,
        "source_seed": cell.ticket.theta.seed,
        "pruning": cell.pruning,
        "level": cell.level,
        "sparsity": cell.sparsity,
    }
    drawn = "" if cell.replicate is None else f" seed {cell.replicate}"
    return Entry(cell.key, "ticket", f"ticket {_ticket_name(cell)}{drawn}", cell.ticket, labels)


def transfer_entry(cell: TransferCell) -> Entry:
    """The entry of one transfer."""
    labels = cell.labels
    part = "" if cell.transfer.fraction == 1 else f" {cell.transfer.fraction:.0%}"
    name = (
        f"{_ticket_name(cell.ticket_cell)} > {labels['dataset']}{part}"
        f" {cell.regime} seed {labels['seed']}"
    )
    return Entry(cell.key, "transfer", name, cell.transfer, labels)


def trial_entry(study: Study, trial: Trial) -> Entry:
    """The entry of one trial of the study's search."""
    search = trials.searched(study)
    theta = ThetaCell(search.pretraining, trial.ticket.theta)
    cell = TicketCell(theta, search.pruning or DENSE, trial.ticket)
    task = trial.dataset.title
    seeds = ",".join(map(str, trial.seeds))
    labels: Labels = {
        "theta": cell.pretraining,
        "source_seed": cell.ticket.theta.seed,
        "pruning": cell.pruning,
        "level": cell.level,
        "sparsity": cell.sparsity,
        "dataset": task,
        "fraction": trial.fraction,
        "regime": search.regime,
        "seeds": seeds,
    }
    name = f"search {_ticket_name(cell)} > {task} {search.regime} {key(trial)[:6]} seed {seeds}"
    return Entry(key(trial), "search", name, trial, labels)


def _ticket_name(cell: TicketCell) -> str:
    if cell.level == 0:
        return f"{cell.theta_cell.name} dense"
    return f"{cell.theta_cell.name} {cell.pruning} {100 * cell.sparsity:.2f} %"


def tags(entry: Entry, result: dict[str, Any]) -> dict[str, str]:
    """What finds a run again, where its result came from, and why it failed, if it did."""
    tagged = {"stage": entry.stage, "key": entry.key, "state": result["state"]}
    tagged |= {name: str(result[name]) for name in ("host", "device", "workers", "torch")}
    if "reason" in result:
        tagged["reason"] = result["reason"]
    if isinstance(entry.spec, Trial):
        tagged["values"] = json.dumps(trials.values(entry.spec))
        tagged["reason"] = result.get("reason", "")
    return tagged


def params(entry: Entry) -> dict[str, str]:
    """The labels of the study, and the spec's own settings; what its parents fixed is theirs."""
    return {name: str(value) for name, value in {**entry.labels, **_own(entry.spec)}.items()}


def _own(spec: Spec) -> dict[str, Any]:
    """Settings, flattened to dotted names."""
    if isinstance(spec, Theta):
        fields = spec.model_dump(mode="json", exclude_none=True)
    elif isinstance(spec, Trial):
        fields = dict(trials.values(spec))
    elif isinstance(spec, Ticket):
        fields = spec.model_dump(mode="json", exclude_none=True, include={"pruning"})
    else:
        fields = spec.model_dump(mode="json", exclude_none=True, exclude={"ticket", "seed"})
        fields["dataset"].pop("name")
        fields["settings"] = fields.pop("regime")
        fields.pop("fraction")
    return dict(_flat(fields))


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@dataclass(frozen=True)
class Value:
    """A metric at a step (0: final) and a time, in seconds since 1970."""

    name: str
    value: float
    time: float
    step: int = 0


def seconds(result: Mapping[str, Any]) -> float:
    """What a result took. A training that was interrupted was begun by an earlier process: then
    its epochs alone took longer than the process that ended it."""
    epochs = sum(epoch["seconds"] for epoch in result.get("epochs", []))
    return float(max(result["ended"] - result["started"], epochs))


def summary(result: Mapping[str, Any]) -> dict[str, float]:
    """The final numbers of a result by name: time, scores, how much was trained and kept."""
    final = {"seconds": seconds(result)}
    groups = (("", "test"), ("last_", "last"), ("source_val_", "source_val"), ("best_val_", "best"))
    for prefix, group in groups:
        for name, value in result.get(group, {}).items():
            final[f"{prefix}{name.upper()}"] = value
    for name in ("chance", "best_epoch", "sparsity", "kept"):
        if name in result:
            final[name] = result[name]
    for check in result.get("checks", []):
        final[f"RA_{check['kind']}"] = check["ra"]
    if epochs := result.get("epochs"):
        final["epochs"] = len(epochs)
    return final


def metrics(result: Mapping[str, Any]) -> Iterator[Value]:
    """The summary, then the curves: train/ what was trained with, val/ scores on validation images,
    probe/ the signals of catastrophic overfitting."""
    for name, value in summary(result).items():
        yield Value(name, float(value), result["ended"])
    moment = result["started"]
    for epoch in result.get("epochs", []):
        moment += epoch["seconds"]
        names = ("loss", "accuracy", "lr", "alpha")
        curve = {f"train/{name}": epoch[name] for name in names if name in epoch}
        curve |= {f"val/{name.upper()}": value for name, value in epoch.get("val", {}).items()}
        curve |= {f"probe/{k.upper()}": value for k, value in epoch.get("signals", {}).items()}
        number = epoch["number"]
        yield from (Value(name, float(value), moment, number) for name, value in curve.items())
