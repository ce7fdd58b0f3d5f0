"""Everything about one theta, ticket or transfer: what it is, what came out, where it lies."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.query import find
from analysis.store import artifacts
from analysis.store.load import TrackedResults, latest
from analysis.store.runs import Run, Store
from analysis.tables.people import is_share, readable
from analysis.tables.text import cell_text, format_table
from search_spaces.grid import DENSE, ThetaCell, TicketCell, TransferCell

STAGES: dict[type, tuple[str, str]] = {
    ThetaCell: ("pretraining", "thetas"),
    TicketCell: ("ticket", "tickets"),
    TransferCell: ("transfer", "transfers"),
}


def describe(
    key: str, cell: find.Cell, results: TrackedResults, store: Store, storage: Path, uri: str
) -> dict[str, Any]:
    """Sections by name: what, settings, scores, epochs, parents, related, mlflow, files.

    Values are those of JSON, but for `epochs` and `related`: tables. Scores are shares in [0, 1].
    """
    kept = _kept_as(cell)
    stage, kind = STAGES[type(kept)]
    run = latest(store.runs([stage], results.parent.experiment)).get(kept.key)
    folder = storage / kind / kept.key
    return {
        "what": {"name": find.title(cell), "key": key, **_labels(cell), **_state(run)},
        "settings": settings(cell),
        "scores": _final(run, epochs := _epochs(run, store)),
        "epochs": epochs,
        "parents": _parents(cell),
        "related": _related(key, cell, results),
        "mlflow": _window(run, results, uri),
        "files": _files(folder),
    }


def lines(sections: Mapping[str, Any]) -> list[str]:
    """The sections for people, shares in percent; empty ones are left out."""
    shown = []
    for name, content in sections.items():
        if isinstance(content, pd.DataFrame):
            table = format_table(readable(content), "table")
            body = table.splitlines() if len(content) else []
        else:
            width = max(map(len, content), default=0)
            body = [f"{label.ljust(width)}  {_value(label, v)}" for label, v in content.items()]
        if body:
            shown += ["", name, *(f"  {line}" for line in body)]
    return shown[1:]


def _value(label: str, value: Any) -> str:
    """A value for people: a share in percent."""
    if is_share(label) and isinstance(value, float) and value == value:
        return f"{100 * value:.2f} %"
    return cell_text(value)


def _kept_as(cell: find.Cell) -> find.Cell:
    """A dense network is its theta, and kept as that."""
    if isinstance(cell, TicketCell) and cell.level == 0:
        return cell.theta_cell
    return cell


def _parents(cell: find.Cell) -> dict[str, str]:
    """Keys of what it was made from."""
    if isinstance(cell, ThetaCell):
        return {}
    ticket = cell.ticket_cell if isinstance(cell, TransferCell) else cell
    theta = ticket.theta_cell
    above: list[find.Cell] = [ticket, theta] if isinstance(cell, TransferCell) else [theta]
    return {find.title(parent): parent.key for parent in above}


def settings(cell: find.Cell) -> dict[str, Any]:
    """A spec's own settings by dotted name; what its parents fixed is theirs."""
    if isinstance(cell, ThetaCell):
        return dict(flat(cell.theta.model_dump(mode="json", exclude_none=True)))
    if isinstance(cell, TicketCell):
        chosen = cell.ticket.model_dump(mode="json", exclude_none=True, include={"pruning"})
    else:
        chosen = cell.transfer.model_dump(
            mode="json", exclude_none=True, exclude={"ticket", "seed", "fraction"}
        )
    return dict(flat(chosen))


def flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested fields as (dotted name, value)."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _labels(cell: find.Cell) -> dict[str, Any]:
    if isinstance(cell, TransferCell):
        return dict(cell.labels)
    if isinstance(cell, ThetaCell):
        return {"theta": cell.pretraining, "source_seed": cell.theta.seed}
    labels = {**_labels(cell.theta_cell), "pruning": cell.pruning}
    return {**labels, "level": cell.level, "sparsity": cell.sparsity}


def _state(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {"state": "no finished run in MLflow"}
    names = ("state", "host", "device", "workers", "torch")
    return {name: run.tags[name] for name in names if name in run.tags}


def _final(run: Run | None, epochs: pd.DataFrame) -> dict[str, float]:
    """The metrics that are no curve."""
    metrics = run.metrics if run else {}
    return {name: value for name, value in metrics.items() if name not in epochs.columns}


def _epochs(run: Run | None, store: Store) -> pd.DataFrame:
    """A row for each epoch (from 1) with its metrics; empty for what was not trained."""
    points = list(store.histories([run.run_id], list(run.metrics))) if run else []
    table = pd.DataFrame(points, columns=["run", "metric", "epoch", "value"])
    table = table[table["epoch"] > 0]
    wide = table.pivot_table(index="epoch", columns="metric", values="value", aggfunc="last")
    return wide.reset_index().rename_axis(columns=None)


def _related(key: str, cell: find.Cell, results: TrackedResults) -> pd.DataFrame:
    """The parents, and the transfers one compares with: of a transfer its other seeds and the dense
    network's; of a ticket all; of a theta those of its dense network."""
    table = results.table
    shown = [*_shown(table), "key"]
    if isinstance(cell, ThetaCell):
        return table.loc[_from_theta(table, cell) & (table["pruning"] == DENSE), shown]
    ticket = cell.ticket_cell if isinstance(cell, TransferCell) else cell
    same_theta = _from_theta(table, ticket.theta_cell)
    mine = (table["pruning"] == ticket.pruning) & (table["level"] == ticket.level)
    if isinstance(cell, TicketCell):
        if cell.replicate is not None:
            mine &= table["seed"] == cell.replicate
        return table.loc[same_theta & mine, shown]
    for name in ("dataset", "fraction", "regime"):
        same_theta &= table[name] == cell.labels[name]
    close = same_theta & (mine | (table["pruning"] == DENSE)) & (table["key"] != key)
    return table.loc[close, shown]


def _from_theta(table: pd.DataFrame, cell: ThetaCell) -> "pd.Series[bool]":
    """Which transfers start from a theta or its tickets."""
    return (table["theta"] == cell.pretraining) & (table["source_seed"] == cell.theta.seed)


def _shown(table: pd.DataFrame) -> list[str]:
    """The labels that tell a study's transfers apart, and the scores."""
    labels = ["pruning", "level", "dataset", "fraction", "regime", "seed"]
    return [*(name for name in labels if table[name].nunique() > 1), "SA", "RA"]


def _window(run: Run | None, results: TrackedResults, uri: str) -> dict[str, Any]:
    if run is None:
        return {"study": results.study.name, "parent run": results.parent.run_id}
    return {
        "study": results.study.name,
        "run": run.run_id,
        "run name": run.name,
        "parent run": results.parent.run_id,
        "artifacts": str(artifacts.folder(run, uri) or run.artifact_uri),
    }


def _files(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        return {"folder": f"not in {folder}: pass --storage, the folder that the run was given"}
    held = ", ".join(sorted(path.name for path in folder.iterdir()))
    return {"folder": str(folder.resolve()), "holds": held}
