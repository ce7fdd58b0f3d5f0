"""The only writer to MLflow: runs derived from the ledger, by the driver alone.

One experiment a study, a parent run for the study, child runs for thetas, tickets and transfers.
A run is FINISHED only when all of it is written; runs cut short are removed and written again.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from analysis.disclosure import public, signed_in, without_secrets
from search_spaces import grid, trials
from search_spaces.base import Spec
from search_spaces.errors import InputError
from search_spaces.grid import TransferCell
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket, Transfer
from search_spaces.study import Study
from search_spaces.trials import Trial
from trainables.ledger import Ledger

SQLITE = "sqlite:///"
DEFAULT_URI = f"{SQLITE}mlflow.db"
# A server that is not there is to be named within seconds, not after minutes of retries.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "GIT_PYTHON_REFRESH": "quiet",
}
_METRICS_A_CALL = 1000
_EXPERIMENT_TAGS = {
    # Opens the UI on training runs rather than on language-model traces.
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "Transfers of sparse tickets from pre-trained networks. Start at the run named after the "
        "study: its verdict is in its description, its curves and YAML under its artifacts. Below "
        "it: `theta` runs are pre-trainings, `ticket` runs masks, the others transfers, named "
        "THETA PRUNING SPARSITY > DATASET REGIME SEED. SA and RA are test accuracies, clean and "
        "under attack, of the best state by validation; last_SA and last_RA of the last epoch. "
        "`search` runs are trials of a hyper-parameter search: they know no test images, and "
        "best_val_SA and best_val_RA are what they are judged by."
    ),
}


@dataclass(frozen=True)
class Entry:
    """A result of a study, and how its MLflow run is called."""

    stage: str
    name: str
    spec: Theta | Ticket | Transfer | Trial
    labels: dict[str, str | int | float]


def entries(study: Study) -> list[Entry]:
    """Everything of a study that gets a run."""
    found = [
        Entry("pretraining", f"theta {c.pretraining}", c.theta, {"theta": c.pretraining})
        for c in grid.thetas(study)
    ]
    for ticket in grid.tickets(study):
        labels: dict[str, str | int | float] = {
            "theta": ticket.pretraining,
            "pruning": ticket.pruning,
            "level": ticket.level,
            "sparsity": ticket.sparsity,
        }
        found.append(Entry("ticket", f"ticket {_ticket_name(ticket)}", ticket.ticket, labels))
    return [*found, *map(transfer_entry, grid.transfers(study))]


def transfer_entry(cell: TransferCell) -> Entry:
    """The entry of one transfer."""
    labels = cell.labels
    part = "" if cell.transfer.fraction == 1 else f" {cell.transfer.fraction:.0%}"
    name = (
        f"{_ticket_name(cell.ticket_cell)} > {labels['dataset']}{part}"
        f" {cell.regime} seed {labels['seed']}"
    )
    return Entry("transfer", name, cell.transfer, labels)


def trial_entry(study: Study, trial: Trial) -> Entry:
    """The entry of one trial of the study's search."""
    search = trials.searched(study)
    cell = grid.TicketCell(search.pretraining, search.pruning or grid.DENSE, trial.ticket)
    task = trial.dataset.title
    seeds = ",".join(map(str, trial.seeds))
    labels: dict[str, str | int | float] = {
        "theta": cell.pretraining,
        "pruning": cell.pruning,
        "level": cell.level,
        "sparsity": cell.sparsity,
        "dataset": task,
        "fraction": trial.fraction,
        "regime": search.regime,
        "seeds": seeds,
    }
    name = f"search {_ticket_name(cell)} > {task} {search.regime} {key(trial)[:6]} seed {seeds}"
    return Entry("search", name, trial, labels)


def _ticket_name(cell: grid.TicketCell) -> str:
    if cell.level == 0:
        return f"{cell.pretraining} dense"
    return f"{cell.pretraining} {cell.pruning} {100 * cell.sparsity:.2f} %"


@dataclass
class Tracker:
    """A study's window in MLflow, connected."""

    client: Any
    study: Study
    ledger: Ledger
    experiment: str
    parent: str
    _known: set[str] = field(default_factory=set)

    def log(self, entry: Entry) -> None:
        """Writes one complete result as a child run; does nothing for one that is there."""
        name = key(entry.spec)
        if name in self._known:
            return
        result = self.ledger.result(entry.spec)
        run = self.client.create_run(
            self.experiment,
            start_time=int(1000 * result["started"]),
            run_name=entry.name,
            tags={
                "mlflow.parentRunId": self.parent,
                "stage": entry.stage,
                "key": name,
                "state": result["state"],
                **{tag: str(result[tag]) for tag in ("host", "device", "workers", "torch")},
                **_extra_tags(entry.spec, result),
            },
        )
        from mlflow.entities import Param

        params = [Param(k, str(v)[:500]) for k, v in {**entry.labels, **_own(entry.spec)}.items()]
        run_id = run.info.run_id
        metrics = list(_metrics(result))
        self.client.log_batch(run_id, metrics=metrics[:_METRICS_A_CALL], params=params[:100])
        for start in range(_METRICS_A_CALL, len(metrics), _METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_CALL])
        if entry.stage == "ticket":
            folder = self.ledger.folder(entry.spec)
            for file in ("mask.safetensors", "result.json", "spec.json"):
                self.client.log_artifact(run_id, str(folder / file), "ticket")
        self.client.set_terminated(run_id, end_time=int(1000 * result["ended"]))
        self._known.add(name)

    def catch_up(self) -> None:
        """Writes every complete result of the study that MLflow lacks."""
        for entry in entries(self.study):
            if key(entry.spec) not in self._known and self.ledger.has(entry.spec):
                self.log(entry)

    def measure(self, numbers: dict[str, float]) -> None:
        """Puts numbers of this run of the study under the parent run, beside earlier runs'."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, 0) for name, value in numbers.items()]
        self.client.log_batch(self.parent, metrics=metrics)

    def attach(self, files: Mapping[str, bytes], folder: str | None = None) -> None:
        """Puts files, named by their paths, under the parent run, in a folder of it if one is
        named, in place of those there."""
        with tempfile.TemporaryDirectory() as scratch:
            for name, content in files.items():
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.client.log_artifacts(self.parent, scratch, folder)

    def end(self) -> None:
        """This run of the study is over."""
        self.client.set_terminated(self.parent)

    def conclude(self, texts: dict[str, str], files: dict[str, bytes], complete: bool) -> None:
        """Puts the study's verdict under the parent run: texts and binary files by name."""
        for name, text in texts.items():
            self.client.log_text(self.parent, text, name)
        note = f"```\n{texts['verdict.txt']}\n```"
        self.client.set_tag(self.parent, "mlflow.note.content", note)
        self.attach(files)
        self.client.set_tag(self.parent, "state", "complete" if complete else "incomplete")
        self.end()


def connect() -> Any:
    """An MLflow client on the tracking URI in force. Raises InputError if it does not answer."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    import mlflow

    uri = mlflow.get_tracking_uri()
    try:
        client = mlflow.MlflowClient(tracking_uri=signed_in(uri))
        client.search_experiments(max_results=1)
    except Exception as error:  # Each kind of store has errors of its own.
        reason = without_secrets(" ".join(str(error).split()), uri)[:160]
        raise InputError(
            f"MLflow at {public(uri)}: does not answer ({reason}): "
            "set MLFLOW_TRACKING_URI to one that does"
        ) from None
    return client


def check_server() -> None:
    """Raises InputError if the tracking URI in force names a store that is not there or no store.
    A database in a file may be absent: it is made when it is needed."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if uri.startswith(SQLITE):
        check_database(Path(uri.removeprefix(SQLITE).partition("?")[0]))
    else:
        connect()


def check_database(path: Path) -> None:
    """Raises InputError if something other than a sqlite database is where one is to be."""
    try:
        start = b""
        if path.exists():
            with path.open("rb") as file:
                start = file.read(16)
    except OSError as error:
        raise InputError(
            f"MLflow store {path}: cannot be read ({error.strerror}): "
            "set MLFLOW_TRACKING_URI to another"
        ) from None
    if start not in (b"", b"SQLite format 3\0"):
        raise InputError(
            f"MLflow store {path}: is no database: move it away, or set MLFLOW_TRACKING_URI"
        )


def open_tracker(client: Any, study: Study, ledger: Ledger) -> Tracker:
    """The study's experiment and parent run, made if missing, and what is already in them."""
    experiment = client.get_experiment_by_name(study.name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    number = experiment.experiment_id if experiment else client.create_experiment(study.name)
    for name, value in _EXPERIMENT_TAGS.items():
        client.set_experiment_tag(number, name, value)
    parents = list(_search(client, number, "tags.stage = 'study'"))
    if parents:
        parent = parents[0].info.run_id
        client.update_run(parent, status="RUNNING")
    else:
        tags = {"stage": "study", "mlflow.source.name": f"python -m tuner run {study.name}"}
        parent = client.create_run(number, run_name=study.name, tags=tags).info.run_id
    client.set_tag(parent, "study_key", key(study))
    content = study.model_dump(mode="json", exclude_none=True)
    client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
    tracker = Tracker(client, study, ledger, number, parent)
    for run in _search(client, number, "tags.stage != 'study'"):
        if run.info.status == "FINISHED":
            tracker._known.add(run.data.tags["key"])
        else:
            client.delete_run(run.info.run_id)
    return tracker


def _search(client: Any, experiment: str, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _extra_tags(spec: Spec, result: dict[str, Any]) -> dict[str, str]:
    """What finds a trial's point again exactly, and why it failed, if it did."""
    if not isinstance(spec, Trial):
        return {}
    return {"values": json.dumps(trials.values(spec)), "reason": result.get("reason", "")}


def _own(spec: Spec) -> dict[str, Any]:
    """A spec's own settings, flattened to dotted names; what its parents fixed is theirs."""
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


def _metrics(result: dict[str, Any]) -> Iterator[Any]:
    """Final scores, then the epoch curves."""
    from mlflow.entities import Metric

    when = int(1000 * result["ended"])
    final = {"seconds": result["ended"] - result["started"]}
    groups = (("", "test"), ("last_", "last"), ("source_val_", "source_val"), ("best_val_", "best"))
    for prefix, group in groups:
        for name, value in result.get(group, {}).items():
            final[f"{prefix}{name.upper()}"] = value
    for name in ("best_epoch", "sparsity", "kept"):
        if name in result:
            final[name] = result[name]
    for check in result.get("checks", []):
        final[f"RA_{check['kind']}"] = check["ra"]
    epochs = result.get("epochs", [])
    if epochs:
        final["epochs"] = len(epochs)
    yield from (Metric(name, float(value), when, 0) for name, value in final.items())
    moment = result["started"]
    for epoch in epochs:
        moment += epoch["seconds"]
        curve = {n: epoch[n] for n in ("loss", "accuracy", "lr", "alpha") if n in epoch}
        curve |= {f"val_{name.upper()}": value for name, value in epoch.get("val", {}).items()}
        curve |= {f"probe_{k.upper()}": value for k, value in epoch.get("signals", {}).items()}
        stamp = int(1000 * moment)
        yield from (
            Metric(
                f"train_{name}" if name in ("loss", "accuracy") else name,
                float(value),
                stamp,
                epoch["number"],
            )
            for name, value in curve.items()
        )
