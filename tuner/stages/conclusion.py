"""How a study stands, decided from the ledger and put where people look: the screen, the parent
run's verdict, figures and report, and the model registry."""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.errors import InputError
from search_spaces.grid import Place, TransferCell
from tuner.scheduling.worklist import Worklist
from tuner.storage import cleaning, failures, keeping, state
from tuner.storage.cleaning import Remains
from tuner.tracking import headline, registry
from tuner.tracking.notes import Summary
from tuner.tracking.tracker import Tracker

if TYPE_CHECKING:
    import pandas as pd

    from analysis.store.runs import Run
    from analysis.verdict.results import Results


@dataclass(frozen=True)
class Conclusion:
    """notes: what did not go as planned; lines: the verdict by both rules, as it is printed;
    models: the registry's names of winning tickets; reported: whether there was anything to report
    on."""

    done: int
    total: int
    notes: list[str]
    lines: list[str]
    models: list[str]
    reported: bool


def from_ledger(work: Worklist) -> Conclusion:
    """What `conclude` would write, from the ledger alone: for when MLflow is away."""
    return _judge(work, state.results(work), flags_of(work)).conclusion


def flags_of(work: Worklist) -> "pd.DataFrame":
    """The signs of masked gradients in the ledger's evidence, as `analysis.verdict.flags` takes
    them."""
    import pandas as pd

    from tuner.evidence.records import collect

    return pd.DataFrame(collect(work).tables["flags"])


def _autoattacks(work: Worklist) -> "pd.DataFrame":
    """AutoAttack's evidence in the ledger, a row for each transfer."""
    import pandas as pd

    from tuner.evidence.records import collect

    return pd.DataFrame(collect(work).tables["autoattack"])


def winning(work: Worklist) -> set[Place]:
    """The places that a study's verdict names, by either rule: of each theta, pruning and task the
    extreme level. 0, the dense network, where no ticket is as good."""
    from analysis.verdict.flags import verdicts
    from analysis.verdict.one_std import GROUP

    tables = verdicts(state.results(work), flags_of(work))
    rows = (row for table in tables for row in table.dropna(subset=["level"]).to_dict("records"))
    return {(*(row[name] for name in GROUP), int(row["level"])) for row in rows}


def free_others(work: Worklist) -> int:
    """Removes the weights that a complete study's transfers keep, but of the dense network and of
    the levels that its verdict names. Returns the bytes that this frees."""
    places = winning(work)

    def wins(cell: TransferCell) -> bool:
        return cell.ticket_cell.level == 0 or cell.place in places

    return cleaning.remove([Remains("weights", keeping.of_study(work, wins), 0)])


def conclude(work: Worklist, tracker: Tracker) -> Conclusion:
    """Writes what the ledger's transfers say, as far as they are there, and ends the parent run.

    Signs of masked gradients are those of the evidence among the parent run's artifacts.
    """
    from analysis.report import page
    from analysis.store import evidence
    from analysis.store.load import CORRECT_FILE, load
    from analysis.tables.text import format_table
    from analysis.tables.verdict import sentences
    from analysis.verdict import records

    study, results = work.study, state.results(work)
    tracker.attach({CORRECT_FILE: records.pack(results.correct)})
    tracked = replace(load(tracker.named, tracker.uri), correct=results.correct)
    _attach_evidence(tracker, tracked.parent)
    _attach_speeds(tracker)
    flags = evidence.flags(tracked.parent, tracker.uri)
    judged = _judge(work, results, flags)
    verdict, shown = judged.verdict, judged.shown
    texts = {
        "verdict/verdict.txt": "\n".join(judged.in_full),
        "verdict/one_std.csv": format_table(verdict, "csv"),
        "verdict/one_std.json": format_table(verdict, "json"),
        "verdict/non_inferiority.csv": format_table(shown, "csv"),
        "verdict/non_inferiority.json": format_table(shown, "json"),
    }
    reported = not tracked.table.empty
    if reported:
        texts["report.html"] = page.of(tracked, tracker.uri)
    drawn = _figures(results, flags)
    tracker.attach({name: text.encode() for name, text in texts.items()} | drawn)
    tracker.settle(headline.params(study))
    tracker.measure(headline.metrics(verdict, shown))
    winners = registry.winners(work, verdict, shown, flags)
    concluded = replace(judged.conclusion, reported=reported)
    complete = concluded.done == concluded.total
    registry.register(tracker, winners, complete)
    models = list(dict.fromkeys(winner.model for winner in winners))
    concluded = replace(concluded, models=models if complete else [])
    failed = _failed(work, results)
    tracker.describe(
        Summary(
            name=study.name,
            experiment=tracker.experiment,
            run=tracker.parent,
            done=concluded.done,
            total=concluded.total,
            failed=failed,
            verdict=sentences(verdict, shown),
            models=concluded.models,
            has_report=reported,
            has_figures=bool(drawn),
            has_evidence=evidence.read(tracked.parent, tracker.uri) is not None,
        )
    )
    tracker.end(failed=failed > 0)
    return concluded


@dataclass(frozen=True)
class _Judged:
    """The verdict by both rules, and what is said of it, before anything is written."""

    verdict: "pd.DataFrame"
    shown: "pd.DataFrame"
    conclusion: Conclusion
    in_full: list[str]


def _judge(work: Worklist, results: "Results", flags: "pd.DataFrame") -> _Judged:
    from analysis.tables.confirmation import confirmed
    from analysis.tables.rules import evidence_lines, one_std_lines
    from analysis.tables.verdict import WIDEST, verdict_lines
    from analysis.verdict import completeness
    from analysis.verdict.flags import verdicts

    verdict, shown = verdicts(results, flags)
    shown = confirmed(shown, _autoattacks(work))
    table = results.expected
    lines, in_full = [], []
    if len(verdict):
        incomplete = completeness.lines(table, _failed(work, results))
        lines = [*incomplete, *verdict_lines(verdict, shown)]
        in_full = [*incomplete, *verdict_lines(verdict, shown, WIDEST)]
        in_full += ["", *one_std_lines(verdict), "", *evidence_lines(verdict, shown)]
    notes = [*_of_thetas(work), *ended_early(table)]
    conclusion = Conclusion(len(results.table), len(table), notes, lines, [], reported=False)
    return _Judged(verdict, shown, conclusion, in_full)


def _attach_evidence(tracker: Tracker, parent: "Run") -> None:
    """Puts the ledger's evidence on a version's results under its run, unless all of it is there:
    then what was said beside it stays."""
    from analysis.store import artifacts
    from tuner.evidence import records

    collected = records.collect(tracker.work)
    counts = {name: len(rows) for name, rows in collected.tables.items()}
    if not any(counts.values()):
        return
    held = artifacts.read(parent, "evidence/index.json", tracker.uri)
    if held is None or json.loads(held).get("records") != counts:
        tracker.attach(records.files(collected, [], 0), "evidence")


def _attach_speeds(tracker: Tracker) -> None:
    """Puts what was measured of a version's tickets and transfers under its run."""
    from analysis.report.speed import FILE
    from trainables.latency import kept

    of = tracker.work.grid
    dense = {cell.dense.key for cell in of.thetas.values()}
    measured = kept.kept(tracker.work.ledger.root, of.keys | dense)
    if measured:
        tracker.attach({FILE: json.dumps(list(measured.values())).encode()})


def _failed(work: Worklist, results: "Results") -> int:
    """How many of a study's missing transfers have failed."""
    return len(failures.recorded(work.ledger.root).keys() & set(results.missing["key"]))


_ENDED = {
    "co_stopped": "stopped in catastrophic overfitting",
    "diverged": "diverged",
}


def _of_thetas(work: Worklist) -> list[str]:
    """Which thetas did not train to their end."""
    thetas = [cell for name, cell in work.grid.thetas.items() if name in work.complete]
    there = [(cell, work.ledger.result(cell.theta)) for cell in thetas]
    return [
        f"theta {cell.name} {_ENDED[result['state']]}: tickets start from its best state "
        f"before, of epoch {result['best_epoch']}"
        for cell, result in there
        if result["state"] in _ENDED
    ]


def ended_early(table: "pd.DataFrame") -> list[str]:
    """How many transfers did not train to their end."""
    counts = table["state"].value_counts()
    return [
        f"{counts[state]} {words}; judged by their best state before it"
        for state, words in _ENDED.items()
        if state in counts
    ]


def _figures(results: "Results", flags: "pd.DataFrame") -> dict[str, bytes]:
    """Figure 3, if there is anything in it yet."""
    from analysis.figures import named, style

    try:
        rows, figure = named.over_scores("fig3", results, flags)
    except InputError:
        return {}
    files = {f"figures/{name}": style.content(figure, name) for name in ("fig3.png", "fig3.svg")}
    return files | {"figures/fig3.csv": rows.to_csv(index=False).encode()}
