"""A study on one page: what its report says, gathered as data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from analysis.figures.evidence import Picture, of_evidence
from analysis.report import speed
from analysis.store import evidence
from analysis.store.disclosure import public
from analysis.store.load import TrackedResults
from analysis.tables import paper
from analysis.tables.roles import random_prunings
from analysis.tables.rules import evidence_lines, one_std_lines
from analysis.tables.text import task_title
from analysis.tables.verdict import sentences
from analysis.verdict.flags import acknowledged, arrived, open_flags, verdicts
from analysis.verdict.one_std import METRICS, RULE, Sample, levels_table, samples
from search_spaces.grid import DENSE

# Of evidence the page shows numbers that fit a row; the rest stays in MLflow.
LONG = 60
MOST_ROWS = 200


@dataclass(frozen=True)
class Exhibit:
    """A table of evidence: what it is, how many rows it has, and those that a page shows."""

    name: str
    about: str
    rows: int
    shown: pd.DataFrame


@dataclass(frozen=True)
class Report:
    """Everything on the page, as text and tables; scores are shares in [0, 1].

    verdicts: some sentences each. lines: both rules as the terminal prints them. warnings: what is
    missing or flagged. curves: panels for the page's script (see `panels`). facts: label -> value.
    """

    name: str
    origin: str
    verdicts: list[str]
    lines: list[str]
    warnings: list[str]
    curves: list[dict[str, Any]]
    levels: pd.DataFrame
    speed: pd.DataFrame
    evidence: list[Exhibit]
    pictures: list[Picture]
    settings: str
    facts: dict[str, str]
    commands: list[str]


def gather(results: TrackedResults, uri: str, runs: dict[str, set[str]]) -> Report:
    """The report of a study. `uri` is the store it was read from; `runs` holds the values of tags
    (torch, device, ...) over its transfers."""
    table, study = results.expected, results.study
    gathered = evidence.read(results.parent, uri)
    flags = gathered.table("flags") if gathered else pd.DataFrame()
    verdict, shown = verdicts(results, flags)
    levels = levels_table(table)
    return Report(
        name=study.name,
        origin=results.origin,
        verdicts=sentences(verdict, shown),
        lines=[*one_std_lines(verdict), "", *evidence_lines(verdict, shown)],
        warnings=warnings(results, flags),
        curves=panels(table, levels, {"star": verdict, "ring": shown}, random_prunings(study)),
        levels=paper.levels(table, study).assign(
            flagged=open_flags(levels, flags, study.looked_at)
        ),
        speed=speed.read(results.parent, uri),
        evidence=_exhibits(gathered) if gathered else [],
        pictures=of_evidence(gathered, study) if gathered else [],
        settings=yaml.safe_dump(study.model_dump(mode="json", exclude_none=True), sort_keys=False),
        facts=_facts(results, uri, runs),
        commands=_commands(results.title, results.origin, gathered is not None),
    )


def warnings(results: TrackedResults, flags: pd.DataFrame) -> list[str]:
    """What a reader has to know before believing: missing, stopped and flagged transfers."""
    sentences = []
    missing, total = len(results.missing), len(results.cells)
    if missing:
        sentences.append(f"{missing} of {total} transfers are missing; verdicts may still change.")
    stopped = int((results.table["state"] == "co_stopped").sum())
    if stopped:
        sentences.append(
            f"{stopped} transfers were stopped in catastrophic overfitting and are judged by their "
            "best state before it."
        )
    diverged = int((results.table["state"] == "diverged").sum())
    if diverged:
        sentences.append(
            f"{diverged} transfers diverged and are judged by their best state before it."
        )
    looked_at = results.study.looked_at
    for row in flags.to_dict("records"):
        who = " ".join(str(row.get(n, "")) for n in ("theta", "pruning", "dataset", "regime"))
        where = f"level {row.get('level')}, seed {row.get('seed')} ({row.get('key')})"
        sound = looked_at.get(row["key"])
        answer = f" Looked at, and held to be sound: {sound}" if sound else ""
        sentences.append(f"Masked gradients? {who}, {where}: {row['flag']}: {row['rule']}.{answer}")
    idle = looked_at.keys() - acknowledged(flags, looked_at).keys()
    if idle:
        sentences.append(f"looked_at names what no evidence flags: {', '.join(sorted(idle))}.")
    return sentences


def panels(
    table: pd.DataFrame,
    levels: pd.DataFrame,
    verdicts: Mapping[str, pd.DataFrame],
    random: list[str],
) -> list[dict[str, Any]]:
    """For the page's script: a panel per task and metric, in it a line per theta and pruning, in it
    a point per level: sparsity, mean, std (None for one seed), each seed's value, and for each of
    the verdicts, by its mark, whether it arrives at that level."""
    won = {mark: arrived(levels, verdict) for mark, verdict in verdicts.items()}
    levels = levels.assign(**won)
    cells = samples(table)
    drawn = []
    for _, task in levels.groupby(["dataset", "fraction"], sort=False):
        for metric in METRICS:
            lines = []
            for (theta, pruning), own in task.groupby(["theta", "pruning"], sort=False):
                scored = own[own[f"{metric.name}_n"] > 0].sort_values("sparsity")
                points = [
                    _point(row, metric, cells) | {mark: row[mark] for mark in won}
                    for row in scored.to_dict("records")
                ]
                label = {"theta": theta, "pruning": pruning, "random": pruning in random}
                lines.append({**label, "points": points})
            title = f"{task_title(task)}: {metric.score}, {metric.regime} training"
            drawn.append({"title": title, "lines": [line for line in lines if line["points"]]})
    return [panel for panel in drawn if panel["lines"]]


def _point(
    row: dict[Any, Any], metric: Any, samples: dict[tuple[Any, ...], Sample]
) -> dict[str, Any]:
    pruning = row["pruning"] if row["level"] else DENSE
    sample = samples[row["theta"], pruning, row["dataset"], row["fraction"], row["level"]]
    std = row[f"{metric.name}_std"]
    scores, one = sample.scores[metric.name], row["source_seeds"] == 1
    return {
        "sparsity": row["sparsity"],
        "mean": row[f"{metric.name}_mean"],
        "std": None if pd.isna(std) else std,
        "seeds": {
            str(seed) if one else f"{source}/{seed}": value
            for (source, seed), value in scores.items()
            if not pd.isna(value)
        },
    }


def _exhibits(gathered: evidence.Evidence) -> list[Exhibit]:
    rows = {name: gathered.table(name) for name in gathered.about}
    return [
        Exhibit(name, gathered.about[name], len(table), _brief(table))
        for name, table in rows.items()
        if len(table)
    ]


def _brief(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns whose values fit a row of a page, and as many rows as one reads."""
    short = [
        name
        for name in rows.columns
        if name != "file" and rows[name].map(lambda value: len(json.dumps(value))).max() <= LONG
    ]
    constant = [name for name in short if len(rows) > 1 and rows[name].astype(str).nunique() == 1]
    return rows[[name for name in short if name not in constant]].head(MOST_ROWS)


def _facts(results: TrackedResults, uri: str, runs: dict[str, set[str]]) -> dict[str, str]:
    study, finished = results.study, len(results.table)
    seeds = sorted({int(seed) for task in study.downstream for seed in task.seeds})
    source = ", ".join(map(str, study.source.seeds))
    hours = results.table["seconds"].sum() / 3600
    return {
        "transfers": f"{finished} of {len(results.cells)} finished, {hours:.2f} hours in all",
        "seeds": f"{', '.join(map(str, seeds))} (transfers), {source} (source)",
        "rules": f"{RULE}; and non-inferiority within a margin, with 95 % confidence",
        **{name: ", ".join(sorted(values)) for name, values in runs.items() if values},
        "MLflow store": public(uri),
        "MLflow run of the study": results.parent.run_id,
    }


def _commands(name: str, origin: str, has_evidence: bool) -> list[str]:
    asked = [f"python -m tuner run {origin}", f"python -m analysis extreme --study {name}"]
    asked += [f"python -m analysis table ticks --study {name}"]
    asked += [f"python -m analysis figure fig3 --study {name} --out figures"]
    if has_evidence:
        asked.insert(1, f"python -m tuner evidence {origin}")
    return [*asked, f"python -m analysis report --study {name}"]
