"""Search policies tried on known curves: how often each names the right level, at what cost."""

from collections.abc import Iterator

import pandas as pd

from analysis.verdict.noninferiority import Margin
from search_spaces.errors import InputError
from search_spaces.study import Study
from tuner.scheduling.adaptive import REGIMES, SearchPlan
from tuner.scheduling.replay import PolicyRow, replay, rows
from tuner.scheduling.worlds import Draw, paper_like, recorded

# The share of a full grid's transfers that a search gets where the study names no budget.
_SHARE = 0.45
_MOST_SEEDS = 60


def report(
    study: Study, runs: int, seed: int, budget: int | None, table: pd.DataFrame | None
) -> Iterator[str]:
    """Lines of the report, each as soon as it is known, on curves like the paper's or on those of a
    table of the study's transfers. Raises InputError for a study without any task that a verdict
    can be given on, or a table without finished transfers."""
    plan = _plan(study, budget)
    draws = _paper_like(plan) if table is None else _own(study, table, plan)
    full = len(REGIMES) * plan.first * (len(plan.levels) + 1)
    yield (
        f"{runs} searches of each kind over levels 0 to {plan.levels[-1]}, margin "
        f"{100 * plan.margin.size:g} points, seed {seed}"
    )
    yield _line("curves", "policy", "rule", "transfers", "exact", "within 1", "covers", "width")
    for shape, draw in draws.items():
        for policy, most in (("grid", None), ("adaptive", plan.budget), ("adaptive", full)):
            outcomes = replay(draw, plan, most, runs, seed)
            for row in rows(shape, policy, outcomes):
                yield _line(*_cells(row))
    yield (
        "(exact, within 1: the level named is the true extreme, or its neighbour; each rule by its "
        "own target:"
    )
    yield (
        " one-std: true means within one true std of dense, the others: within the margin; covers, "
        "width: of the 90 % interval, in levels)"
    )


def _plan(study: Study, budget: int | None) -> SearchPlan:
    """The study's deepest ladder, and its search's terms or a search in place of its grid."""
    task = study.downstream[0]
    made = {
        level
        for plan in study.pruning.values()
        for level in plan.made_levels
        if not task.adaptive or task.has_level(level)
    }
    if not made:
        raise InputError(f"study {study.name}: prunes nothing: there is no level to search for")
    ladder = tuple(range(1, max(made) + 1))
    first = len(task.seeds)
    least = len(REGIMES) * (first + 1)
    if budget is not None and budget < least:
        raise InputError(
            f"--budget {budget}: ends before a level is tried: with {first} seeds of the dense "
            f"network it takes {least}"
        )
    grid_cost = len(REGIMES) * first * (len(ladder) + 1)
    given = task.adaptive.budget if task.adaptive else max(least, int(_SHARE * grid_cost))
    return SearchPlan(
        ladder, tuple(range(_MOST_SEEDS)), first, budget or given, Margin(task.margin)
    )


def _paper_like(plan: SearchPlan) -> dict[str, Draw]:
    levels = len(plan.levels)
    return {
        "monotone": paper_like("monotone", levels, len(plan.seeds)),
        "humped": paper_like("humped", levels, len(plan.seeds)),
    }


def _own(study: Study, table: pd.DataFrame, plan: SearchPlan) -> dict[str, Draw]:
    draws = recorded(table, plan.levels, len(plan.seeds))
    if not draws:
        raise InputError(
            f"study {study.name}: no curve of two levels, two seeds is finished: run it first"
        )
    return draws


def _cells(row: PolicyRow) -> tuple[str, ...]:
    return (
        row.shape,
        row.policy,
        row.rule,
        f"{row.transfers:.1f}",
        f"{100 * row.exact:.1f} %",
        f"{100 * row.within_one:.1f} %",
        "" if row.covers is None else f"{100 * row.covers:.1f} %",
        "" if row.width is None else f"{row.width:.2f}",
    )


def _line(*cells: str) -> str:
    widths = (24, 9, 16)
    left = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return " ".join([*left, *(cell.rjust(9) for cell in cells[3:])]).rstrip()
