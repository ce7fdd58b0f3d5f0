"""How fast tickets answer, as `python -m tuner latency` has measured: a row for each way to run
each."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.store import artifacts
from analysis.store.runs import Run

FILE = "latency.json"
"""Among the parent run's artifacts: a list of records."""


def read(parent: Run, uri: str) -> pd.DataFrame:
    """The table of a study whose run is `parent`; empty where nothing was measured."""
    content = artifacts.read(parent, FILE, uri)
    return table(json.loads(content) if content else [])


def table(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Sizes in bytes, images/s and their ratio to the dense network's by batch size, medians of
    rounds; MACs of an image; SA and RA as shares: those of the dense transfer and of the sparse
    one as the study has them, RA only of what is the same network."""
    return pd.DataFrame([_row(record, row) for record in records for row in record["rows"]])


def _row(record: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    tested = record["dense_tested" if row["name"] == "dense" else "tested"] or {}
    found = {
        "network": record["name"],
        "sparsity": record["labels"]["sparsity"],
        "run as": row["name"],
        "device": f"{record['device']}, {record['threads']} threads",
        "file": row["file"],
        "zipped": row["zipped"],
        "memory": row["memory"],
        "MACs": row["macs"],
        "MACs not zero": row["nonzero_macs"],
    }
    for batch, speed in row["speed"].items():
        found[f"images/s, batch {batch}"] = speed["images_per_second"]["median"]
        found[f"x dense, batch {batch}"] = speed["ratio"]["median"]
    measured = tested.get("sa") if row["sa"] is None else row["sa"]
    return {**found, "SA": measured, "RA": tested.get("ra"), "same answers": row["agrees"]}
