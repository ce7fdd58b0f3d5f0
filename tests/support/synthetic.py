"""Large studies with made-up scores, written straight into an MLflow store."""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy
import yaml
from mlflow.store.tracking.dbmodels import models as rows
from mlflow.tracking import MlflowClient

from search_spaces import grid
from search_spaces.keys import keys
from search_spaces.reading import studies
from search_spaces.study import Study
from tests.support.mlflow_store import empty_store

# 3 pre-trainings x 4 prunings x 20 levels, as many datasets, fractions and seeds as are asked for.
TEMPLATE = """
name: large
source:
  dataset: {name: imagenet, size: 224, view: crop}
  model: {arch: resnet50}
  pretrainings:
    standard: {train: {recipe: &recipe {epochs: 10, lr: 0.1}}}
    fast_adversarial:
      train: {recipe: *recipe, attack: {kind: fgsm, epsilon: 4/255, alpha: 5/255}}
    adversarial:
      train:
        recipe: *recipe
        attack: &pgd {kind: pgd, epsilon: 8/255, alpha: 2/255, steps: 3}
pruning:
  imp: {method: imp, rounds: 20, retraining: {recipe: *recipe}}
  imp-adversarial: {method: imp, rounds: 20, retraining: {recipe: *recipe, attack: *pgd}}
  one-shot: {method: one_shot, levels: &levels [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}
  random: {method: random, levels: *levels}
downstream:
  - &task
    dataset: {name: cifar10, size: 32}
    fractions: [1.0, 0.1, 0.01]
    levels: [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]
    seeds: [0, 1, 2]
    regimes:
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: *pgd}
  - <<: *task
    dataset: {name: cifar100, size: 32}
  - <<: *task
    dataset: {name: svhn, size: 32}
    fractions: [1.0]
evaluation: {attack: {kind: pgd, epsilon: 8/255, alpha: 2/255, steps: 20}}
"""
# The last level that costs nothing, by theta and pruning; random tickets lose at once.
KNEES = {"standard": 9, "fast_adversarial": 10, "adversarial": 12}
SHIFTS = {"dense": 0, "imp": 0, "imp-adversarial": 1, "one-shot": -2, "random": -9}


def large_study(name: str = "large", **changes: Any) -> Study:
    """10,206 transfers; `changes` replace fields of every downstream task."""
    data = studies.parse(TEMPLATE, name)
    data["name"] = name
    data["downstream"] = [{**task, **changes} for task in data["downstream"]]
    return studies.validate(data, name)


def scores(labels: Mapping[str, Any]) -> tuple[float, float]:
    """(SA, RA) in [0, 1]: flat up to a knee, then falling; with less data all is lower."""
    beyond = max(0, labels["level"] - KNEES[labels["theta"]] - SHIFTS[labels["pruning"]])
    # The same in every run, another for every transfer: within 0.8 points.
    told = sorted(item for item in labels.items() if item != ("source_seed", 0))
    noise = 0.016 * (zlib.crc32(repr(told).encode()) / 2**32 - 0.5)
    robust = {"standard": 0.0, "fast_adversarial": 0.04, "adversarial": 0.06}[labels["theta"]]
    scale = {"cifar10": 1.0, "cifar100": 0.75, "svhn": 0.98}[labels["dataset"]]
    scale *= 1 + 0.1 * np.log10(labels["fraction"])
    sa = scale * (0.95 if labels["regime"] == "standard" else 0.8 + robust) - 0.02 * beyond
    ra = scale * (0.45 + robust) - 0.015 * beyond if labels["regime"] == "adversarial" else 0.0
    return max(0.05, sa + noise), max(0.0, ra + noise if ra else 0.0)


def table(study: Study) -> pd.DataFrame:
    """A row for every transfer of a study, with made-up scores."""
    records = []
    for cell in grid.transfers(study):
        sa, ra = scores(cell.labels)
        times = {"seconds": 60.0, "run_id": "", "state": "complete", "key": ""}
        records.append({**cell.labels, "SA": sa, "RA": ra, **times})
    return pd.DataFrame(records)


@dataclass(frozen=True)
class Bulk:
    """An MLflow store in a sqlite file, filled through SQLAlchemy: 10,000 runs in seconds."""

    folder: Path

    def __post_init__(self) -> None:
        empty_store(self.folder)

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def add(self, study: Study, cells: Iterable[grid.TransferCell] | None = None) -> str:
        """Writes a study whose transfers are all finished; returns the parent run's id."""
        client = MlflowClient(tracking_uri=self.uri)
        where = (self.folder / "artifacts").as_uri()
        experiment = client.create_experiment(study.name, artifact_location=where)
        tags = {"stage": "study", "state": "complete"}
        parent = client.create_run(experiment, run_name=study.name, tags=tags).info.run_id
        content = study.model_dump(mode="json", exclude_none=True)
        client.log_text(parent, yaml.safe_dump(content, sort_keys=False), "study.yaml")
        self._fill(int(experiment), parent, list(cells or grid.transfers(study)))
        client.set_terminated(parent)
        return parent

    def _fill(self, experiment: int, parent: str, cells: list[grid.TransferCell]) -> None:
        tables: dict[Any, list[dict[str, Any]]] = {
            t: [] for t in (rows.SqlRun, rows.SqlTag, rows.SqlParam, rows.SqlLatestMetric)
        }
        named = zip(cells, keys([cell.transfer for cell in cells]), strict=True)
        for number, (cell, key) in enumerate(named):
            run = f"{experiment:016x}{number:016x}"
            name, sa_ra = re.sub(r"[{}']", "", str(cell.labels)), scores(cell.labels)
            head = {"run_uuid": run, "name": name[:200], "source_type": "UNKNOWN", "user_id": "me"}
            head |= {"source_name": "", "entry_point_name": "", "source_version": ""}
            head |= {"status": "FINISHED", "start_time": number, "end_time": number + 1}
            head |= {"lifecycle_stage": "active", "experiment_id": experiment}
            tables[rows.SqlRun].append({**head, "artifact_uri": f"{self.folder}/artifacts/{run}"})
            tags = {"mlflow.parentRunId": parent, "mlflow.runName": name[:200], "host": "here"}
            tags |= {"stage": "transfer", "key": key, "state": "complete"}
            tags |= {"device": "cpu", "workers": "1", "torch": "2.15.0"}
            params = {name: str(value) for name, value in cell.labels.items()}
            params |= {f"settings.{i}": "0.1" for i in range(20)}
            metrics = dict(zip(("SA", "RA", "last_SA", "last_RA"), sa_ra * 2, strict=True))
            metrics |= {"best_epoch": 9.0, "epochs": 10.0, "seconds": 60.0}
            metrics |= {f"curve_{i}": 0.5 for i in range(7)}
            for kind, content in ((rows.SqlTag, tags), (rows.SqlParam, params)):
                tables[kind] += [
                    {"run_uuid": run, "key": k, "value": v} for k, v in content.items()
                ]
            stamp = {"run_uuid": run, "timestamp": number, "step": 0, "is_nan": False}
            tables[rows.SqlLatestMetric] += [
                {**stamp, "key": k, "value": v} for k, v in metrics.items()
            ]
        with sqlalchemy.create_engine(self.uri).begin() as connection:
            for kind, content in tables.items():
                connection.execute(sqlalchemy.insert(kind), content)
