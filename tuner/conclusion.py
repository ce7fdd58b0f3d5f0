"""How a study stands, decided from the ledger and put where people look: the screen, the parent
run's verdict, figures and report, and the model registry."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.errors import InputError
from search_spaces.study import Study
from trainables.ledger import Ledger
from tuner import failures, registry, state
from tuner.agenda import Agenda
from tuner.notes import Summary
from tuner.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

    from analysis.records import Correct


@dataclass(frozen=True)
class Conclusion:
    """lines: the verdict by both rules, as it is printed; models: the registry's names of winning
    tickets; reported: whether there was anything to report on."""

    done: int
    total: int
    stopped: int
    lines: list[str]
    models: list[str]
    reported: bool


def from_ledger(agenda: Agenda, study: Study, ledger: Ledger) -> Conclusion:
    """What `conclude` would write, from the ledger alone: for when MLflow is away."""
    import pandas as pd

    from tuner import evidence_records

    table, correct = state.table(agenda, ledger)
    flags = pd.DataFrame(evidence_records.collect(study, ledger).tables["flags"])
    judged = _judge(study, ledger, table, correct, flags)
    return _conclusion(table, judged, [], reported=False)


def conclude(agenda: Agenda, tracker: Tracker) -> Conclusion:
    """Writes what the ledger's transfers say, as far as they are there, and ends the parent run.

    Signs of masked gradients are those of the evidence among the parent run's artifacts.
    """
    from analysis import evidence, load, page, records
    from analysis.report import sentences
    from analysis.roles import pruners
    from analysis.tables import format_table

    study = tracker.study
    table, correct = state.table(agenda, tracker.ledger)
    tracker.attach({"correct.npz": records.pack(correct)})
    results = load.load(study.name, tracker.uri)
    flags = evidence.flags(results.parent, tracker.uri)
    judged = _judge(study, tracker.ledger, table, correct, flags)
    verdict, shown = judged.verdict, judged.shown
    texts = {
        "verdict/verdict.txt": "\n".join(judged.lines),
        "verdict/one_std.csv": format_table(verdict, "csv"),
        "verdict/one_std.json": format_table(verdict, "json"),
        "verdict/non_inferiority.csv": format_table(shown, "csv"),
        "verdict/non_inferiority.json": format_table(shown, "json"),
    }
    reported = not results.table.empty
    if reported:
        texts["report.html"] = page.of(results, tracker.uri)
    drawn = _figures(table, study)
    tracker.attach({name: text.encode() for name, text in texts.items()} | drawn)
    found = registry.winners(study, verdict, shown, flags)
    registry.register(tracker, found)
    concluded = _conclusion(table, judged, [winner.model for winner in found], reported)
    failed = _failed(tracker.ledger, table)
    tracker.describe(
        Summary(
            name=study.name,
            experiment=tracker.experiment,
            run=tracker.parent,
            done=concluded.done,
            total=concluded.total,
            failed=failed,
            verdict=sentences(verdict, pruners(study)),
            models=concluded.models,
            has_report=reported,
            has_figures=bool(drawn),
            has_evidence=evidence.read(results.parent, tracker.uri) is not None,
        )
    )
    tracker.end(failed=failed > 0)
    return concluded


@dataclass(frozen=True)
class _Judged:
    """The verdict by both rules, and what is printed of it."""

    verdict: "pd.DataFrame"
    shown: "pd.DataFrame"
    lines: list[str]


def _judge(
    study: Study, ledger: Ledger, table: "pd.DataFrame", correct: "Correct", flags: "pd.DataFrame"
) -> _Judged:
    from analysis import holes
    from analysis.flags import verdicts
    from analysis.tables import rules_lines, verdict_lines

    verdict, shown = verdicts(study, table, correct, flags)
    if verdict.empty:
        return _Judged(verdict, shown, [])
    said = holes.lines(table, _failed(ledger, table))
    lines = [*said, *verdict_lines(verdict), "", *rules_lines(verdict, shown)]
    return _Judged(verdict, shown, lines)


def _failed(ledger: Ledger, table: "pd.DataFrame") -> int:
    """How many of a study's missing transfers have failed."""
    return len(failures.recorded(ledger.root).keys() & set(table["key"]))


def _conclusion(
    table: "pd.DataFrame", judged: _Judged, models: list[str], reported: bool
) -> Conclusion:
    done = int((table["state"] != "missing").sum())
    stopped = int((table["state"] == "co_stopped").sum())
    return Conclusion(done, len(table), stopped, judged.lines, models, reported)


def _figures(table: "pd.DataFrame", study: Study) -> dict[str, bytes]:
    """Figure 3, if there is anything in it yet."""
    from analysis.figures import named, style

    try:
        rows, figure = named.over_scores("fig3", table, study)
    except InputError:
        return {}
    files = {f"figures/{name}": style.content(figure, name) for name in ("fig3.png", "fig3.svg")}
    return files | {"figures/fig3.csv": rows.to_csv(index=False).encode()}
