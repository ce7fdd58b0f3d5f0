"""The platform's own benchmark of its verdicts: is what they say as often true as they say?

Studies are simulated whose true curves are known, easy ones and those on which a rule is most
easily wrong: their scores are seen through test images, judged as a study's are, and the statements
are counted. Seeds are fixed; every policy and every version of the rules meets the same worlds.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Literal

import numpy as np

from analysis.verdict.inference import Bools, Floats
from analysis.verdict.noninferiority import Finding, Margin, interval, judge
from analysis.verdict.one_std import METRICS
from tuner.scheduling.adaptive import Cell, LevelSearch, Result, SearchPlan
from tuner.scheduling.image_worlds import Scatter, seen_through
from tuner.scheduling.replay import grid, play
from tuner.scheduling.worlds import World

Curve = Literal[
    "steep",
    "identical",
    "plateau",
    "below",
    "at margin",
    "beyond",
    "step",
    "top",
    "gentle",
    "humped",
]
CURVES: dict[Curve, str] = {
    "steep": "nothing is lost up to a level, then 2 margins a level",
    "identical": "no level loses anything",
    "plateau": "all metrics lose half a margin up to a level, then 3 margins",
    "below": "all metrics lose 0.8 margins at every level",
    "at margin": "all metrics lose the margin at every level",
    "beyond": "one metric loses 1.02 margins at every level, the others nothing",
    "step": "nothing is lost up to a level, then one metric loses 1.02 margins",
    "top": "one metric loses 1.02 margins at the sparsest level, and nothing else is lost",
    "gentle": "all metrics lose 0.15 margins a level",
    "humped": "robust accuracy loses 2 margins, then nothing, then 2 margins a level",
}
Policy = Literal["grid", "adaptive", "endless"]


_BUDGET = 60
"""Of an adaptive search, as a study has it by default."""


def losses(curve: Curve, levels: int, margin: float, rng: np.random.Generator) -> Floats:
    """(M, 1 + levels): what each level of a curve loses to dense, in shares."""
    level = np.arange(levels + 1)
    knee = int(rng.integers(2, levels - 1))
    past = np.maximum(level - knee, 0)
    every, one = np.ones((len(METRICS), 1)), np.eye(len(METRICS))[:, [rng.integers(len(METRICS))]]
    robust = np.eye(len(METRICS))[:, [2]]
    shapes: dict[Curve, Floats] = {
        "steep": every * 2 * past,
        "identical": every * np.zeros(levels + 1),
        "plateau": every * np.where(past > 0, 3.0, 0.5),
        "below": every * np.full(levels + 1, 0.8),
        "at margin": every * np.full(levels + 1, 1.0),
        "beyond": one * np.full(levels + 1, 1.02),
        "step": one * 1.02 * (past > 0),
        "top": one * 1.02 * (level == levels),
        "gentle": every * 0.15 * level,
        "humped": every * 2 * past + robust * 2 * (level < knee / 2),
    }
    shape = shapes[curve]
    shape[:, 0] = 0
    return margin * shape


@dataclass(frozen=True)
class Case:
    """A kind of simulated study: its curve and ladder, test images, margin in shares, seeds a
    level, how its transfers are chosen, and whether its per-image records are kept."""

    curve: Curve
    levels: int = 14
    images: int = 500
    margin: float = 0.04
    seeds: int = 3
    policy: Policy = "grid"
    records: bool = True
    sources: int = 1
    """Source seeds, of a grid; `seeds` transfers of each a level."""

    @property
    def scatter(self) -> Scatter:
        """Of several thetas, their robust accuracies scatter by 1.2 points, and what the sparsest
        tickets lose by as much."""
        return Scatter(theta=0.1, ticket=0.1) if self.sources > 1 else Scatter()

    @property
    def cells(self) -> list[Cell]:
        """The transfers of the grid."""
        return grid(self.levels, self.sources * self.seeds)

    @property
    def plan(self) -> SearchPlan:
        budget = 10**9 if self.policy == "endless" else _BUDGET
        ladder = tuple(range(1, self.levels + 1))
        return SearchPlan(ladder, tuple(range(30)), self.seeds, budget, Margin(self.margin))


@dataclass(frozen=True)
class Statement:
    """What the verdict on a simulated study said: does its interval hold the true extreme level, is
    a level said to match that does not, is nothing left open, is the level the true one; and the
    interval's width and the transfers used."""

    covers: bool
    wrong: bool
    decided: bool
    exact: bool
    width: int
    transfers: int


def simulate(case: Case, number: int, pooled: bool = False) -> Statement:
    """Simulates a study and judges it; `pooled`: as `judge_grid` has it."""
    plan = case.plan
    seeds = len(plan.seeds) if case.sources == 1 else case.seeds
    curves = partial(losses, case.curve, case.levels, case.margin)
    draw = seen_through(curves, case.images, seeds, case.scatter, case.sources)
    world = draw(np.random.default_rng((sum(map(ord, case.curve)), case.levels, number)))
    if case.policy == "grid":
        finding = judge_grid(case, {c: world.result(c) for c in case.cells}, pooled)
    else:
        search = LevelSearch(plan)
        cells = len(play(world, [], search))
        known = search.finding()
        assert known is not None
        finding = known
    return _statement(case, world, finding, 0 if case.policy == "grid" else cells)


def _statement(case: Case, world: World, finding: Finding, transfers: int) -> Statement:
    loss = world.truth[:, :1] - world.truth
    true = np.all(loss <= case.margin * (1 + 1e-9), axis=0)
    extreme = int(np.flatnonzero(true).max())
    low, high = interval(finding)
    shown = [row for row, outcome in finding.outcomes.items() if outcome == "match"]
    return Statement(
        covers=low <= extreme <= high,
        wrong=not true[shown].all(),
        decided=not finding.open and bool(finding.outcomes),
        exact=finding.extreme == extreme,
        width=high - low,
        transfers=transfers or len(case.cells),
    )


def judge_grid(case: Case, results: dict[Cell, Result], pooled: bool = False) -> Finding:
    """Judges a grid's results; `pooled`: as if all transfers were of one source seed."""
    shape = len(METRICS), case.levels + 1, case.sources * case.seeds
    scores: Floats = np.full(shape, np.nan)
    correct: Bools = np.zeros((*shape, case.images), bool)
    for cell, result in results.items():
        for m, metric in enumerate(METRICS):
            if metric.regime == cell.regime and result.correct:
                scores[m, cell.level, cell.seed] = result.scores[metric.score]
                correct[m, cell.level, cell.seed] = result.correct[metric.score]
    margin = Margin(case.margin)
    if case.sources > 1 and not pooled:
        scores = scores.reshape(*shape[:2], case.sources, case.seeds)
        correct = correct.reshape(*scores.shape, case.images)
    if case.records:
        return judge(list(scores), margin, list(correct))
    return judge(list(scores), margin, images=[case.images] * len(METRICS))


@dataclass(frozen=True)
class Rates:
    """How often a case's statements were so, in [0, 1]; width in levels; transfers: the mean."""

    case: Case
    covers: float
    wrong: float
    decided: float
    exact: float
    width: float
    transfers: float


def rates(case: Case, runs: int, pooled: bool = False) -> Rates:
    """Over `runs` simulated studies; `pooled`: as `judge_grid` has it."""
    every = [simulate(case, number, pooled) for number in range(runs)]
    names = ("covers", "wrong", "decided", "exact", "width", "transfers")
    return Rates(case, **{name: fmean(getattr(one, name) for one in every) for name in names})


def benchmark() -> Iterator[Case]:
    """The cases of the benchmark."""
    for curve in CURVES:
        yield Case(curve)
        yield Case(curve, images=4000, margin=0.01)
        yield Case(curve, levels=8, images=1000, margin=0.02, seeds=5)
        yield Case(curve, policy="adaptive")
        yield Case(curve, images=4000, margin=0.01, policy="adaptive")
        yield Case(curve, policy="endless")
    for curve in ("steep", "at margin", "beyond", "top"):
        yield Case(curve, records=False)
    for curve in ("steep", "below", "at margin", "beyond"):
        for sources in (3, 5):
            yield Case(curve, levels=8, images=1000, margin=0.03, seeds=2, sources=sources)
        yield Case(curve, levels=8, images=2000, margin=0.01, seeds=4, sources=4)


HEAD = (
    f"{'curve':<10} {'policy':<9}{'levels':>7}{'seeds':>6}{'images':>7}{'margin':>7}  "
    f"{'records':<8}{'covers':>6}{'wrong':>7}{'decided':>8}{'exact':>7}{'width':>7}{'transfers':>10}"
)


def line(measured: Rates) -> str:
    """A line of the benchmark's table."""
    case = measured.case
    seeds = f"{case.sources}x{case.seeds}" if case.sources > 1 else str(case.seeds)
    return (
        f"{case.curve:<10} {case.policy:<9}{case.levels:>7}{seeds:>6}{case.images:>7}"
        f"{100 * case.margin:>7g}  {'yes' if case.records else 'no':<8}"
        f"{100 * measured.covers:>6.1f}{100 * measured.wrong:>7.1f}{100 * measured.decided:>8.1f}"
        f"{100 * measured.exact:>7.1f}{measured.width:>7.2f}{measured.transfers:>10.0f}"
    )


def table(runs: int) -> Iterator[str]:
    """Lines of the benchmark, `runs` simulated studies a case, each line as soon as it is known; on
    all cores."""
    yield f"{runs} simulated studies of each kind, judged as a study is; rates in %"
    yield HEAD
    # Fresh processes: what is loaded here may hold threads, which no fork survives.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from map(line, pool.map(partial(rates, runs=runs), benchmark()))
    yield "(covers: the 90 % interval holds the true extreme; wrong: some level is said to match"
    yield " that does not; decided: nothing is left open; exact: the level named is the true one)"
    yield " (seeds 3x2: three source seeds with two transfers each)"
    yield from (f" {name}: {what}" for name, what in CURVES.items())
