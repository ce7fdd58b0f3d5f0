"""The confirmation of a verdict: a stronger attack on what it names, from kept weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console

from search_spaces.checks import AutoAttackCheck
from search_spaces.finished.evidence import AutoAttackEvidence, Retraining
from search_spaces.finished.weights import Weights
from search_spaces.grid import TransferCell
from search_spaces.regimes import Evaluation
from tuner.cluster.capacity import Capacity
from tuner.runtime.progress import StageProgress
from tuner.scheduling.worklist import Worklist
from tuner.stages.conclusion import winning


class Missing(NamedTuple):
    """pieces: the attacks that the ledger lacks; lost: how many more cannot be made, as the weights
    are not kept."""

    pieces: list[AutoAttackEvidence]
    lost: int


def missing(work: Worklist) -> Missing:
    """What a study's confirmation lacks, where its evaluation asks for one; nothing before the
    study is complete."""
    asked = _asked(work)
    if not any(asked(cell) for cell in work.grid.transfers.values()) or not work.over:
        return Missing([], 0)
    kept, places = work.ledger.keys(Weights), winning(work)
    pieces: list[AutoAttackEvidence] = []
    lost = 0
    for name, cell in work.grid.transfers.items():
        evaluation = asked(cell)
        wins = cell.ticket_cell.level == 0 or cell.place in places
        if evaluation is None or name not in work.complete or not wins:
            continue
        piece = _attack(cell, evaluation)
        if work.ledger.has(piece):
            continue
        if cell.weights_key in kept:
            pieces.append(piece)
        else:
            lost += 1
    return Missing(pieces, lost)


def make(work: Worklist, capacity: Capacity, console: Console) -> None:
    """Makes what a study's confirmation lacks, with its progress on the screen."""
    pieces = missing(work).pieces
    if not pieces:
        return
    from tuner.stages import evidence

    with StageProgress(console, "confirmation: AutoAttack", 0, len(pieces)) as progress:
        failures = evidence.run(pieces, work.ledger, capacity, progress.advance)
    for reason in failures:
        console.print(f"not confirmed: {reason}", markup=False)


def remarks(work: Worklist) -> list[str]:
    """What keeps a complete study's verdict from being confirmed, where it asks for that."""
    pieces, lost = missing(work)
    remarks = []
    if lost:
        remarks.append(f"AutoAttack: {lost} networks have not kept their weights (--keep-weights)")
    if pieces:
        remarks.append(f"AutoAttack: {len(pieces)} networks are not attacked yet: run again")
    return remarks


def _asked(work: Worklist) -> Callable[[TransferCell], Evaluation | None]:
    """The evaluation that asks for a transfer's confirmation, if one does."""
    from analysis.verdict.flags import JUDGED

    def asks(cell: TransferCell) -> Evaluation | None:
        evaluation = cell.task.evaluation or work.study.evaluation
        return evaluation if evaluation.confirm and cell.regime in JUDGED else None

    return asks


def _attack(cell: TransferCell, evaluation: Evaluation) -> AutoAttackEvidence:
    assert evaluation.confirm is not None, "it asks for one"
    ball: dict[str, Any] = {"norm": evaluation.attack.norm, "epsilon": evaluation.attack.epsilon}
    check = AutoAttackCheck(kind="autoattack", images=evaluation.confirm.images, **ball)
    return AutoAttackEvidence(network=Retraining(transfer=cell.transfer), check=check)
