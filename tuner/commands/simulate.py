"""python -m tuner simulate: search policies tried without training."""

from typing import Annotated

import typer

from search_spaces.reading import studies
from trainables.store.ledger import Ledger
from tuner.options import SetOpt, StorageOpt, StudyArg
from tuner.runtime.settings import Settings
from tuner.scheduling.worklist import worklist
from tuner.storage import state


def simulate(
    study: StudyArg = "quickstart",
    overrides: SetOpt = None,
    runs: Annotated[int, typer.Option(min=10, help="Simulated searches of each kind.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same table.")] = 0,
    budget: Annotated[
        int | None, typer.Option(min=10, help="Transfers of a search; default: the study's.")
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="On the study's own finished curves.")
    ] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="The benchmark of the verdicts; no study is read.")
    ] = False,
    storage: StorageOpt = Settings.storage,
) -> None:
    """Try search policies on known curves, without training: how often is the level right?

    Curves are shaped like the paper's (monotone; humped: robust accuracy rises before it falls), or
    (--recorded) those that the study's finished transfers show. Searches run through the scheduling
    and the verdict that a run uses. --coverage asks instead how often verdicts are right, over
    curves on which a rule is most easily wrong (minutes).
    """
    from tuner.scheduling.coverage import table
    from tuner.scheduling.simulation import report

    if coverage:
        for line in table(runs):
            typer.echo(line)
        return
    loaded = studies.load(study, overrides or ())
    known = state.results(worklist(loaded, Ledger(storage))).expected if recorded else None
    for line in report(loaded, runs, seed, budget, known):
        typer.echo(line)
