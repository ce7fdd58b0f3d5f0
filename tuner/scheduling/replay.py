"""A replay bench: search policies on known curves and noise, through the real scheduling, without
any training. Shows how often a policy names the right level, and at what cost."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from analysis.verdict.inference import Floats
from analysis.verdict.ladder import Looks
from analysis.verdict.noninferiority import Margin, interval, judge
from analysis.verdict.one_std import METRICS, matching
from search_spaces.regimes import RegimeName
from tuner.scheduling.adaptive import REGIMES, Cell, LevelSearch, Result, SearchPlan
from tuner.scheduling.queue import Queue, ScheduledSearch
from tuner.scheduling.worlds import Draw, World

SLOTS = 4
# An adversarial training takes about three times as long as a standard one.
_SECONDS: dict[RegimeName, float] = {"standard": 1.0, "adversarial": 3.0}


@dataclass(frozen=True)
class Outcome:
    """One simulated search: transfers used, levels named minus the true ones (by the rule one-std,
    by non-inferiority, by its estimates), whether the interval holds the true level, its width."""

    transfers: int
    one_std: int
    shown: int
    likely: int
    covered: bool
    width: int


def grid(levels: int, seeds: int) -> list[Cell]:
    """The full grid: every level, dense included, with every seed under both regimes."""
    return [
        Cell(level, regime, seed)
        for level in range(levels + 1)
        for regime in REGIMES
        for seed in range(seeds)
    ]


def play(world: World, fixed: Sequence[Cell], search: LevelSearch | None) -> dict[Cell, Result]:
    """Trains cells on SLOTS machines in simulated time, as the real schedule hands them out."""
    searches = [ScheduledSearch(search, lambda cell: cell)] if search else []
    schedule: Queue[Cell] = Queue(fixed, searches)
    running: list[tuple[float, Cell]] = []
    results: dict[Cell, Result] = {}
    now = 0.0
    while not schedule.over:
        while len(running) < SLOTS and (cell := schedule.next()) is not None:
            heapq.heappush(running, (now + _SECONDS[cell.regime], cell))
        now, cell = heapq.heappop(running)
        results[cell] = world.result(cell)
        schedule.ended(cell, results[cell])
    return results


def outcome(
    world: World, results: dict[Cell, Result], margin: Margin, looks: Looks | None
) -> Outcome:
    """Judges what a grid, or (looks) a search has trained, by the rules of the analysis."""
    metrics, levels, seeds = world.noise.shape
    scores = np.full((metrics, levels, seeds), np.nan)
    for cell, result in results.items():
        for m, metric in enumerate(METRICS):
            if metric.regime == cell.regime:
                scores[m, cell.level, cell.seed] = result.scores[metric.score]
    finding = judge(list(scores), margin, looks=looks)
    low, high = interval(finding)
    true = world.extreme(np.full(metrics, margin.size))
    return Outcome(
        transfers=len(results),
        one_std=_by_one_std(scores) - world.extreme(world.spread),
        shown=finding.extreme - true,
        likely=finding.likely - true,
        covered=low <= true <= high,
        width=high - low,
    )


def _by_one_std(scores: Floats) -> int:
    best = 0
    for level in range(1, scores.shape[1]):
        rows = [(metric[level], metric[0]) for metric in scores]
        pairs = [(own[~np.isnan(own)], dense[~np.isnan(dense)]) for own, dense in rows]
        if all(len(own) and matching(own, dense) for own, dense in pairs):
            best = level
    return best


def replay(draw: Draw, plan: SearchPlan, budget: int | None, runs: int, seed: int) -> list[Outcome]:
    """Many simulated searches: adaptive with a budget, or (None) the full grid of plan.first seeds.

    Run i meets the same world whatever the policy: policies are compared on equal luck.
    """
    outcomes = []
    for number in range(runs):
        world = draw(np.random.default_rng((seed, number)))
        if budget is None:
            results = play(world, grid(len(plan.levels), plan.first), None)
        else:
            results = play(world, [], LevelSearch(replace(plan, budget=budget)))
        outcomes.append(outcome(world, results, plan.margin, plan.looks if budget else None))
    return outcomes


@dataclass(frozen=True)
class PolicyRow:
    """How a policy did, read by a rule: means over runs, rates in [0, 1]; `covers` and `width` of
    the 90 % interval, where the rule has one."""

    shape: str
    policy: str
    rule: str
    transfers: float
    exact: float
    within_one: float
    covers: float | None
    width: float | None


def rows(shape: str, policy: str, outcomes: Sequence[Outcome]) -> list[PolicyRow]:
    """A row for each way to read a policy's outcomes."""

    def row(rule: str, errors: list[int], with_interval: bool) -> PolicyRow:
        return PolicyRow(
            shape,
            policy,
            rule,
            fmean(o.transfers for o in outcomes),
            fmean(e == 0 for e in errors),
            fmean(abs(e) <= 1 for e in errors),
            fmean(o.covered for o in outcomes) if with_interval else None,
            fmean(o.width for o in outcomes) if with_interval else None,
        )

    return [
        row("one-std", [o.one_std for o in outcomes], False),
        row("non-inferiority", [o.shown for o in outcomes], True),
        row("estimate", [o.likely for o in outcomes], False),
    ]
