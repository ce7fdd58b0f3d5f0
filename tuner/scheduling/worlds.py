"""Known curves with known noise, to try search policies on: shaped as in the paper, or recorded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.verdict.inference import Floats
from analysis.verdict.one_std import METRICS, groups
from tuner.scheduling.adaptive import Cell, Result

Shape = Literal["monotone", "humped"]


@dataclass(frozen=True)
class World:
    """What is true, and what is seen of it.

    truth (M, L): each metric's true score by level, dense first, in [0, 1]; noise (M, L, S): what
    each seed adds; spread (M,): the noise's true standard deviation.
    """

    truth: Floats
    noise: Floats
    spread: Floats

    def extreme(self, margin: Floats) -> int:
        """The true extreme level: the largest whose loss to dense is within `margin` (M,)."""
        loss = self.truth[:, :1] - self.truth
        return int(np.flatnonzero((loss <= margin[:, None]).all(0)).max())

    def result(self, cell: Cell) -> Result:
        """What training a cell gives."""
        scores = {
            metric.score: float(self.truth[m, cell.level] + self.noise[m, cell.level, cell.seed])
            for m, metric in enumerate(METRICS)
            if metric.regime == cell.regime
        }
        return Result(scores)


Draw = Callable[[np.random.Generator], World]
"""A random world."""


def paper_like(shape: Shape, levels: int = 19, seeds: int = 60, pairing: float = 0.0) -> Draw:
    """Worlds shaped like the curves of Chen et al. (ICML 2022).

    monotone: each metric is flat (losing 0.01 points a level) up to a knee at level 3 to 19 and
        then falls by 0.3 to 1.5 points times (levels beyond the knee) ** (1 to 2)
    humped: the same, but RA under adversarial training rises before it falls, by the points of
        Table A2 (47.1, 56.0, 60.1, 50.9 % at levels 0, 10, 12, 14), its peak moved to one level
        before the knee
    Seeds scatter normally with a standard deviation of 0.3 to 0.8 points a metric; `pairing` is the
    share of that variance that all levels' transfers of one seed have in common.
    """

    def draw(rng: np.random.Generator) -> World:
        level = np.arange(levels + 1)
        spread = rng.uniform(0.003, 0.008, len(METRICS))
        first = rng.uniform(3, 16)
        curves = []
        for _ in METRICS:
            beyond = np.maximum(level - first - rng.uniform(0, 3), 0)
            fall = rng.uniform(0.3, 1.5) * beyond ** rng.uniform(1, 2)
            curves.append(-(0.01 * level + fall) / 100)
        if shape == "humped":
            peak = first - 1
            places = [0, max(peak - 2, 0.5), max(peak, 1), peak + 2, peak + 7]
            curves[2] = np.interp(level, places, np.array([0, 8.9, 13, 3.8, -19.2]) / 100)
        shared = rng.standard_normal((len(METRICS), 1, seeds)) * pairing**0.5
        own = rng.standard_normal((len(METRICS), levels + 1, seeds)) * (1 - pairing) ** 0.5
        truth = np.array([[0.95], [0.80], [0.471]]) + np.array(curves)
        return World(truth, (shared + own) * spread[:, None, None], spread)

    return draw


def recorded(table: pd.DataFrame, levels: tuple[int, ...], seeds: int = 60) -> dict[str, Draw]:
    """A world for each group of a study's table that has both regimes: its means by level as the
    truth, lines between tested levels, and normal noise of its pooled standard deviations."""
    worlds = {}
    for labels, dense, pruned in groups(table):
        rows = pd.concat([dense, pruned])
        curves, spreads = [], []
        for metric in METRICS:
            scores = rows[rows["regime"] == metric.regime].dropna(subset=[metric.score])
            by_level = scores.groupby("level")[metric.score]
            loose = int((by_level.count() - 1).sum())
            if 0 not in by_level.groups or len(by_level) < 2 or not loose:
                break
            mean = by_level.mean().sort_index()
            curves.append(np.interp([0, *levels], mean.index, mean))
            rest = scores[metric.score] - by_level.transform("mean")
            spreads.append(float(np.sqrt((rest**2).sum() / loose)))
        else:
            part = "" if labels["fraction"] == 1 else f" {100 * labels['fraction']:g} %"
            name = f"{labels['theta']} {labels['pruning']} {labels['dataset']}{part}"
            worlds[name] = _around(np.array(curves), np.array(spreads), seeds)
    return worlds


def _around(truth: Floats, spread: Floats, seeds: int) -> Draw:
    def draw(rng: np.random.Generator) -> World:
        noise = rng.standard_normal((*truth.shape, seeds)) * spread[:, None, None]
        return World(truth, noise, spread)

    return draw
