"""What of a study gets a run in MLflow, and what the run says: tags, parameters, metrics."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces import trials
from search_spaces.base import Spec
from search_spaces.grid import DENSE, Grid, ThetaCell, TicketCell, TransferCell
from search_spaces.keys import key
from search_spaces.spec import Dataset, Theta, Ticket, Transfer
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
    # What tells a table's rows apart comes first: MLflow cuts names off at their end.
    name = (
        f"seed {labels['seed']} {cell.regime}: {_ticket_name(cell.ticket_cell)}"
        f" > {labels['dataset']}{part}"
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
    about = f"{search.regime}: {_ticket_name(cell)} > {task}"
    name = f"search {key(trial)[:6]} seed {seeds} {about}"
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
    found = {**entry.labels, **_own(entry.spec)}
    if "sparsity" in found:
        found["sparsity"] = asked_sparsity(entry)
    return {name: str(value) for name, value in found.items()}


def datasets(entry: Entry) -> list[tuple[Dataset, str]]:
    """What a result was trained on, and, where it was, tested on: (dataset, train or test)."""
    spec = entry.spec
    if isinstance(spec, Ticket):
        return [(spec.theta.dataset, "train")]
    tested = [] if isinstance(spec, Trial) else [(spec.dataset, "test")]
    return [(spec.dataset, "train"), *tested]


def asked_sparsity(entry: Entry) -> float:
    """The share of weights that a ticket was to lose, in [0, 1), as people write it: to a hundredth
    of a percent. What it has lost to the weight is its metric `kept`."""
    return round(float(entry.labels["sparsity"]), 4)


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
    final: dict[str, float] = {}
    groups = (("", "test"), ("last_", "last"), ("source_val_", "source_val"), ("best_val_", "best"))
    for prefix, group in groups:
        for name, value in result.get(group, {}).items():
            final[f"{prefix}{name.upper()}"] = value
    final["seconds"] = seconds(result)
    for name in ("chance", "best_epoch", "kept"):
        if name in result:
            final[name] = result[name]
    final |= _of_checks(result.get("checks", []))
    if epochs := result.get("epochs"):
        final["epochs"] = len(epochs)
    return final


def _of_checks(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The scores of further checks: RA_NAME, of corruptions SA_NAME; of several of one name, with
    numbers from the second on."""
    final: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for record in records:
        kind = "SA" if "sa" in record else "RA"
        # Results of earlier versions have no name but their kind.
        score = f"{kind}_{record.get('name', record['kind'])}"
        seen[score] += 1
        number = "" if seen[score] == 1 else f"_{seen[score]}"
        final[f"{score}{number}"] = record[kind.lower()]
    return final


def metrics(entry: Entry, result: Mapping[str, Any]) -> Iterator[Value]:
    """The summary, the sparsity as an axis for charts, then the curves: train/ what was trained
    with, val/ scores on validation images, probe/ the signals of catastrophic overfitting."""
    for name, value in summary(result).items():
        yield Value(name, float(value), result["ended"])
    if "sparsity" in entry.labels:
        yield Value("sparsity", asked_sparsity(entry), result["ended"])
    moment = result["started"]
    for epoch in result.get("epochs", []):
        moment += epoch["seconds"]
        names = ("loss", "accuracy", "lr", "alpha")
        curve = {f"train/{name}": epoch[name] for name in names if name in epoch}
        curve |= {f"val/{name.upper()}": value for name, value in epoch.get("val", {}).items()}
        curve |= {f"probe/{k.upper()}": value for k, value in epoch.get("signals", {}).items()}
        number = epoch["number"]
        yield from (Value(name, float(value), moment, number) for name, value in curve.items())
