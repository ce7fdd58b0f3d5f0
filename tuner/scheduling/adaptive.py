"""Which transfers to train next to find the extreme double-win level: noisy bisection.

A ladder of levels is probed coarsely, the boundary between matching and failing is bisected by
the estimates, both neighbours of the boundary are probed (robust accuracy may rise before it
falls), and then further seeds go where the verdict is open: to the levels at the boundary, only
under the regimes that leave doubt, up to the number with which a level is looked at next, and to
the dense network, which every comparison shares. It ends when the verdict is settled, cannot be
settled by seeds, or the budget is spent.

The policy is a pure function of the scores so far, asked batch by batch: a batch is decided when
the one before is complete. So the transfers do not depend on who finishes first, and an interrupted
search continues where it was by being told its finished transfers again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from analysis.verdict.inference import Bools, Floats, images_behind
from analysis.verdict.ladder import Looks
from analysis.verdict.noninferiority import Finding, Margin, judge
from analysis.verdict.one_std import METRICS
from analysis.verdict.outlook import chance_to_settle, short_of_matching
from search_spaces.regimes import RegimeName

REGIMES: tuple[RegimeName, ...] = ("standard", "adversarial")

_PROBES = 4
# Two levels at the boundary share one dense network: at equal cost it deserves sqrt(2) of their
# seeds when they are not paired, and no more than theirs when they are.
_DENSE_AHEAD = 1.2
# Seeds are not spent on a level which the test images alone keep open more likely than that.
_LEAST_CHANCE = 0.2


class Cell(NamedTuple):
    """A transfer of a search: its level (0: dense), its regime and its seed."""

    level: int
    regime: RegimeName
    seed: int


class Result(NamedTuple):
    """A transfer's scores by name ("SA", "RA"), shares in [0, 1], and, where they were recorded,
    which test images it gets right, (N,) bool, by the same names."""

    scores: Mapping[str, float]
    correct: Mapping[str, Bools] | None = None


@dataclass(frozen=True)
class SearchPlan:
    """levels: the ladder, ascending, without 0; seeds: in the order they are used; first: how many
    the dense network starts with; budget: the most transfers; margin: of the verdict."""

    levels: tuple[int, ...]
    seeds: tuple[int, ...]
    first: int
    budget: int
    margin: Margin

    @property
    def looks(self) -> Looks:
        """How the error rate is spent over the search."""
        return Looks(self.first)


@dataclass
class LevelSearch:
    """One search: its plan, and what it has been told so far."""

    plan: SearchPlan
    asked: set[Cell] = field(default_factory=set)
    results: dict[Cell, Result | None] = field(default_factory=dict)

    def ask(self) -> list[Cell]:
        """The next batch; empty when the search is over. Tell all of it before asking again."""
        left = self.plan.budget - len(self.asked)
        cells = list(dict.fromkeys(self._next()))[: max(0, left)]
        self.asked.update(cells)
        return cells

    def tell(self, cell: Cell, result: Result | None) -> None:
        """What came of a cell; None if its training failed for good."""
        self.results[cell] = result

    def finding(self) -> Finding | None:
        """What is known so far; None before the dense network has every score."""
        scores = [self._scores(m) for m in range(len(METRICS))]
        if any(np.isnan(metric[0]).all() for metric in scores):
            return None
        correct = [self._correct(m) for m in range(len(METRICS))]
        images = [self._images(m) for m in range(len(METRICS))]
        return judge(scores, self.plan.margin, correct, self.plan.looks, images)

    def _next(self) -> Iterator[Cell]:
        if not self.asked:
            yield from self._start()
            return
        finding = self.finding()
        if finding is None:
            return
        low, high = _boundary(finding)
        # A level between that has been tried and has no score cannot be trained: others tell.
        between = [row for row in range(low + 1, high) if self._untested(row)]
        if between:
            yield from self._seeds(between[(len(between) - 1) // 2], REGIMES, 1)
            return
        neighbours = [row for row in (low - 1, high, high + 1) if self._untested(row)]
        for row in neighbours:
            yield from self._seeds(row, REGIMES, 1)
        if not neighbours:
            yield from self._where_open(finding, low)

    def _start(self) -> Iterator[Cell]:
        yield from self._seeds(0, REGIMES, self.plan.first)
        levels = len(self.plan.levels)
        for row in sorted({-(-levels * part // _PROBES) for part in range(1, _PROBES + 1)}):
            yield from self._seeds(row, REGIMES, 1)

    def _where_open(self, finding: Finding, low: int) -> Iterator[Cell]:
        """Further seeds for the open levels nearest to the boundary, and for the dense network."""
        near = sorted(
            (row for row in finding.open if row >= low and self._may_settle(finding, row)),
            key=lambda row: row - low,
        )
        # What can be claimed comes first: the next level is refuted once this one matches.
        targets = [low] if low in near else near[:2]
        cells: list[Cell] = []
        most = dict.fromkeys(REGIMES, 0)
        for row in targets:
            for regime in _doubtful(finding, row, self.plan.looks):
                have = self._count(row, regime)
                # What has failed so far is tried one by one.
                wanted = self.plan.looks.next(have) if self._scored(row, regime) else have + 1
                more = list(self._seeds(row, (regime,), wanted - have))
                most[regime] = max(most[regime], have + len(more))
                cells += more
        # What dense is behind comes first: the budget may end anywhere.
        yield from self._dense_up_to(most, 1.0)
        yield from cells
        yield from self._dense_up_to(most, _DENSE_AHEAD)

    def _may_settle(self, finding: Finding, row: int) -> bool:
        """Is a level open by itself, and may any number of seeds change that?"""
        if finding.clears[row] or self._fails(row):
            return False
        return not chance_to_settle(finding, row, np.inf) < _LEAST_CHANCE

    def _dense_up_to(self, counts: Mapping[RegimeName, int], ahead: float) -> Iterator[Cell]:
        """What the dense network lacks of `ahead` times these numbers of seeds."""
        for regime, count in counts.items():
            yield from self._seeds(
                0, (regime,), max(0, int(ahead * count) - self._count(0, regime))
            )

    def _seeds(self, row: int, regimes: tuple[RegimeName, ...], count: int) -> Iterator[Cell]:
        """The next `count` seeds of a level that have not been asked for."""
        level = self._level(row)
        for regime in regimes:
            fresh = [s for s in self.plan.seeds if Cell(level, regime, s) not in self.asked]
            yield from (Cell(level, regime, seed) for seed in fresh[:count])

    def _level(self, row: int) -> int:
        return (0, *self.plan.levels)[row]

    def _count(self, row: int, regime: RegimeName) -> int:
        level = self._level(row)
        return sum(Cell(level, regime, seed) in self.asked for seed in self.plan.seeds)

    def _scored(self, row: int, regime: RegimeName) -> bool:
        level = self._level(row)
        return any(result for cell, result in self.results.items() if cell[:2] == (level, regime))

    def _untested(self, row: int) -> bool:
        return 0 < row <= len(self.plan.levels) and not all(self._count(row, r) for r in REGIMES)

    def _fails(self, row: int) -> bool:
        """Have two seeds of a level failed to train under a regime, and none succeeded?"""
        level = self._level(row)
        tried = [[r for c, r in self.results.items() if c[:2] == (level, name)] for name in REGIMES]
        return any(len(passed) > 1 and not any(passed) for passed in tried)

    def _scores(self, metric: int) -> Floats:
        """(L, S): a metric's scores, NaN where there are none."""
        score, regime = METRICS[metric].score, METRICS[metric].regime
        scores = np.full((1 + len(self.plan.levels), len(self.plan.seeds)), np.nan)
        for cell, result in self.results.items():
            if result is not None and cell.regime == regime:
                scores[self._place(cell)] = result.scores[score]
        return scores

    def _correct(self, metric: int) -> Bools | None:
        """(L, S, N): what a metric's transfers get right; None unless all of them recorded it."""
        score, regime = METRICS[metric].score, METRICS[metric].regime
        results = {c: r for c, r in self.results.items() if r and c.regime == regime}
        if not results or any(result.correct is None for result in results.values()):
            return None
        rights = {cell: (result.correct or {})[score] for cell, result in results.items()}
        images = len(next(iter(rights.values())))
        correct = np.zeros((1 + len(self.plan.levels), len(self.plan.seeds), images), bool)
        for cell, right in rights.items():
            correct[self._place(cell)] = right
        return correct

    def _images(self, metric: int) -> int | None:
        """How many test images are behind a metric's scores, if that can be told."""
        score, regime = METRICS[metric].score, METRICS[metric].regime
        results = [(c, r) for c, r in self.results.items() if r]
        known = (len(r.correct[score]) for c, r in results if r.correct and c.regime == regime)
        every = [value for _, r in results for value in r.scores.values()]
        return next(known, None) or images_behind(np.array(every, float))

    def _place(self, cell: Cell) -> tuple[int, int]:
        return (0, *self.plan.levels).index(cell.level), self.plan.seeds.index(cell.seed)


def _boundary(finding: Finding) -> tuple[int, int]:
    """(the level that estimates call the extreme one, the next tested one above it), by rows."""
    low = finding.likely
    above = [row for row in finding.outcomes if row > low]
    return low, min(above, default=finding.value.shape[1])


def _doubtful(finding: Finding, row: int, looks: Looks) -> list[RegimeName]:
    """The regimes whose further seeds can settle an open level: those of the metrics that look like
    failing, if any does, otherwise those of the metrics that are not shown to match."""
    failing = finding.value[:, row] + finding.margin.size < 0
    chosen = failing if failing.any() else short_of_matching(finding, row, looks)
    wanted = {metric.regime for metric, doubt in zip(METRICS, chosen, strict=True) if doubt}
    # Where all would be enough at the next look, it has only to be reached.
    return [regime for regime in REGIMES if regime in wanted] or ["adversarial"]
