"""A verdict's confirmation: what is attacked once more, from which weights, and where it shows."""

import pytest

from search_spaces import grid
from search_spaces.finished.weights import weights
from search_spaces.reading import studies
from tests.support import made_up
from tests.support.studies import tiny
from trainables.store.ledger import open_ledger
from tuner.scheduling.worklist import worklist
from tuner.stages import confirmation
from tuner.stages.conclusion import from_ledger

CONFIRM = "evaluation.confirm={kind: autoattack, images: 50}"


@pytest.fixture
def study():
    content = made_up.study().model_dump(mode="json", exclude_none=True)
    content["evaluation"]["confirm"] = {"kind": "autoattack", "images": 50}
    return studies.validate(content, "made-up")


@pytest.fixture
def ledger(study, tmp_path):
    """All of the study, with the weights of all transfers but the second seed's."""
    ledger = open_ledger(tmp_path)
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study))
    for cell in grid.transfers(study):
        if cell.transfer.seed == 0:
            ledger.write(weights(cell.transfer), {**made_up.WHERE, "state": "complete"}, {})
    return ledger


def attacked(pieces):
    return sorted((p.network.transfer.ticket.level, p.network.transfer.seed) for p in pieces)


def test_dense_and_named_levels_are_attacked_from_kept_weights(study, ledger):
    """imp loses from level 3 on: by either rule level 2 is named."""
    pieces, lost = confirmation.missing(worklist(study, ledger))
    assert attacked(pieces) == [(0, 0), (2, 0)] and lost == 2
    for piece in pieces:
        assert piece.network.transfer.regime.attack and piece.network.transfer.checks is None
        assert (piece.check.epsilon, piece.check.images) == (study.evaluation.attack.epsilon, 50)
    assert any("2 networks" in line for line in confirmation.remarks(worklist(study, ledger)))


def test_what_is_confirmed_is_a_column_and_is_not_attacked_again(study, ledger):
    for piece in confirmation.missing(worklist(study, ledger)).pieces:
        level = piece.network.transfer.ticket.level
        result = {"ra": 0.3 - level / 100, "pgd_ra": 0.5, "images": 50, "epsilon": 0.1}
        ledger.write(piece, {**made_up.WHERE, "state": "complete", "warnings": [], **result}, {})
    work = worklist(study, ledger)
    assert confirmation.missing(work).pieces == []
    (row,) = [
        line for line in from_ledger(work).lines if line.startswith("standard") and "imp" in line
    ]
    assert "28.0 (30.0)" in row


def test_nothing_is_attacked_before_all_is_there_or_unless_it_is_asked_for(study, ledger, tmp_path):
    more = studies.validate(
        {**study.model_dump(mode="json", exclude_none=True), "name": "more"}, "more"
    )
    task = more.downstream[0].model_copy(update={"seeds": (0, 1, 2)})
    incomplete = more.model_copy(update={"downstream": (task,)})
    assert confirmation.missing(worklist(incomplete, ledger)) == ([], 0)
    assert confirmation.missing(worklist(made_up.study(), ledger)) == ([], 0)


def test_results_are_the_same_with_and_without():
    plain, confirmed = tiny(), tiny(CONFIRM)
    assert [c.transfer for c in grid.transfers(plain)] == [
        c.transfer for c in grid.transfers(confirmed)
    ]
    assert plain.version == confirmed.version
