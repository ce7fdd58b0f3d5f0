"""The paper's tables: extreme sparsities, winning ticks at a level, and what the verdicts cost."""

from collections.abc import Mapping

import pandas as pd

from analysis.verdict.completeness import counted
from analysis.verdict.one_std import GROUP, METRICS, REGIMES, extreme, levels_table
from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.grid import DENSE
from search_spaces.study import Study

TICKS = {m.name: f"{m.score}-{'ST' if m.regime == 'standard' else 'AT'}" for m in METRICS}
# Sparsities as people write them: two digits of a percentage.
NEAR = 0.00005 + 1e-9


def extreme_table(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Extreme sparsity, a share: a row per dataset, fraction and pruning, a column per theta.

    Missing where there is no verdict (a dense network without scores). A study with holes has a
    further column: how many of a row's transfers are missing.
    """
    verdict = extreme(table)
    if verdict.empty:
        return verdict
    verdict = counted(verdict, table)
    index = ["dataset", "fraction", "pruning"]
    wide = verdict.set_index([*index, "theta"])["sparsity"].unstack("theta", sort=False)
    thetas = [name for name in study.source.pretrainings if name in wide.columns]
    shares = wide[thetas]
    if verdict["missing"].any():
        # The dense network's count for each pruning that is held against it.
        shares = shares.assign(missing=verdict.groupby(index, sort=False)["missing"].sum())
    return shares.reset_index().rename_axis(columns=None)


def ticks(
    table: pd.DataFrame, study: Study, level: int | None = None, sparsity: float | None = None
) -> pd.DataFrame:
    """Table 1 at a level, or at a sparsity in percent: which metrics match, and the double win.

    One row per theta, pruning, dataset and fraction; true, false, or missing where a score is. With
    neither: every level that was transferred. Raises InputError for one that was not. A study with
    holes has a further column: how many seeds a level lacks.
    """
    levels = levels_table(table)
    levels = levels[levels["level"] > 0]
    if level is not None:
        levels = _chosen(levels, levels["level"] == level, f"--level {level}", "level")
    if sparsity is not None:
        near = (levels["sparsity"] - sparsity / 100).abs() <= NEAR
        levels = _chosen(levels, near, f"--sparsity {sparsity:g}", "sparsity")
    named = levels[["theta", "pruning", "dataset", "fraction", "level", "sparsity"]].copy()
    for name, title in TICKS.items():
        judged = levels[f"{name}_n"] > 0
        named[title] = levels[f"{name}_matching"].astype("boolean").where(judged)
    named["double win"] = levels["double_win"].astype("boolean").where(levels["complete"])
    if levels["missing"].any():
        named["missing seeds"] = levels["missing"]
    return named.reset_index(drop=True)


def _chosen(levels: pd.DataFrame, holds: pd.Series, option: str, column: str) -> pd.DataFrame:
    if holds.any():
        return levels[holds]
    known = sorted(set(levels[column]))
    shown = known if column == "level" else [f"{100 * value:.2f}" for value in known]
    raise InputError(f"{option}: no ticket was transferred there: there are {_listed(shown)}")


def _listed(values: list[object]) -> str:
    return ", ".join(map(str, values))


def levels(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Every level's mean, std and number of seeds in every metric; shares in [0, 1].

    A dense network stands once for each pruning that is held against it.
    """
    scores = levels_table(table)
    parts = [f"{m.name}_{part}" for m in METRICS for part in ("mean", "std", "n")]
    return scores[[*GROUP, "level", "sparsity", *parts, "double_win"]]


def levels_in_short(scores: pd.DataFrame) -> pd.DataFrame:
    """The table of `levels` for people: each metric as mean±std in percent, by the paper's titles;
    seeds: how many the least covered metric has."""
    shown = scores[[*GROUP, "level", "sparsity"]].copy()
    for name, title in TICKS.items():
        mean, std = (100 * scores[f"{name}_{part}"] for part in ("mean", "std"))
        spread = std.map(lambda value: f"±{value:.1f}", "ignore").fillna("")
        shown[f"{title} %"] = mean.map(lambda value: f"{value:.1f}", "ignore") + spread
    shown["seeds"] = scores[[f"{name}_n" for name in TICKS]].min(axis=1)
    return shown.assign(**{"double win": scores["double_win"]})


def cost(table: pd.DataFrame, study: Study, source_seconds: Mapping[str, float]) -> pd.DataFrame:
    """What each verdict took: a row per theta, pruning, dataset and fraction.

    trainings and hours are of its own pruned transfers, dense those of the dense network that
    verdicts of one theta and task share; source counts trainings on the source (the theta and IMP's
    rounds, shared by all tasks), source hours their time as far as `source_seconds` (key of a theta
    or ticket -> seconds) has it. Hours are of one training after another.
    """
    source = _source(study, source_seconds)
    labels = ["theta", "dataset", "fraction"]
    rows = []
    judged = table[table["regime"].isin(REGIMES)]
    for (theta, dataset, fraction), task in judged.groupby(labels, sort=False):
        dense = task[task["pruning"] == DENSE]
        for pruning, own in task[task["pruning"] != DENSE].groupby("pruning", sort=False):
            count, seconds = source[str(theta), str(pruning)]
            rows.append(
                {
                    "theta": theta,
                    "pruning": pruning,
                    "dataset": dataset,
                    "fraction": fraction,
                    "trainings": len(own),
                    "hours": own["seconds"].sum() / 3600,
                    "dense": len(dense),
                    "dense hours": dense["seconds"].sum() / 3600,
                    "source": count,
                    "source hours": seconds / 3600,
                }
            )
    return pd.DataFrame(rows)


def _source(study: Study, seconds: Mapping[str, float]) -> dict[tuple[str, str], tuple[int, float]]:
    """(theta, pruning) -> trainings on the source, of all source seeds, and their seconds."""
    costs: dict[tuple[str, str], tuple[int, float]] = {}
    tickets = grid.tickets(study)
    for theta in grid.thetas(study):
        trained = int(theta.theta.pretraining.train is not None)
        for name, plan in study.pruning.items():
            own = (theta, name)
            made = [cell.key for cell in tickets if (cell.theta_cell, cell.pruning) == own]
            count, spent = costs.get((theta.pretraining, name), (0, 0.0))
            count += trained + (len(made) if plan.retraining else 0)
            spent += sum(seconds.get(key, 0.0) for key in (theta.key, *made))
            costs[theta.pretraining, name] = count, spent
    return costs
