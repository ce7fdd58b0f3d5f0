"""Hand-made ladders of levels, as tables of a small study's transfers."""

import numpy as np
import pandas as pd

from analysis.verdict.one_std import METRICS
from search_spaces.levels import sparsity
from search_spaces.reading import studies

TEXT = """
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8, width: 8}
  pretrainings: {standard: {train: {recipe: &recipe {epochs: 1, lr: 0.1}}}}
pruning:
  imp: {method: imp, rounds: 12, retraining: {recipe: *recipe}}
  random: {method: random, levels: [4]}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0, 4, 8, 10, 12]
    seeds: [0, 1, 2]
    regimes:
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: {kind: pgd, epsilon: 0.1, alpha: 0.1}}
evaluation: {attack: {kind: pgd, epsilon: 0.1, alpha: 0.1}}
"""
BASE = {"SA_standard": 0.98, "SA_adversarial": 0.85, "RA_adversarial": 0.5}
# Deviations with mean 0 and sample standard deviation 1, one order a level: little is paired.
ORDERS = np.array([[-1, -1, 1, 1, 0, 0], [1, 0, -1, 0, 1, -1], [0, 1, 0, -1, -1, 1]]) / 0.8**0.5


def small_study():
    return studies.validate(studies.parse(TEXT, "small"), "small")


def level(
    number, loss=0.0, seeds=6, spread=0.001, pruning="imp", theta="standard", source=0, **losses
):
    """Rows of one level, each metric `loss` (or its own) below the dense network's."""
    rows = []
    for metric in METRICS:
        mean = BASE[metric.name] - losses.get(metric.name, loss)
        values = mean + spread * ORDERS[number % 3][:seeds]
        for seed, value in enumerate(values):
            rows.append((metric.regime, seed, metric.score, value))
    frame = pd.DataFrame(rows, columns=["regime", "seed", "score", "value"])
    wide = frame.pivot(index=["regime", "seed"], columns="score", values="value").reset_index()
    labels = {"theta": theta, "pruning": pruning, "level": number, "sparsity": sparsity(number)}
    wide = wide.assign(**labels, dataset="digits", fraction=1.0, source_seed=source)
    names = [
        f"{theta}-{pruning}-{number}-{r}-{s}"
        for r, s in zip(wide["regime"], wide["seed"], strict=True)
    ]
    return wide.assign(key=names).to_dict("records")


def dense(**changes):
    return level(0, pruning="dense", **changes)


def table(*levels):
    return pd.DataFrame([row for rows in levels for row in rows])
