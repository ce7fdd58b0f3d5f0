"""Whose weights are kept, what they take, and how they are freed: on made-up results."""

from collections import namedtuple

import pytest

from search_spaces import grid
from search_spaces.checks import AutoAttackCheck
from search_spaces.finished.weights import Weights, weights
from search_spaces.reading import judging
from search_spaces.regimes import Attack
from tests.support import made_up
from tests.support.commands import call
from tests.support.studies import tiny, write
from trainables.store.ledger import Ledger, open_ledger
from tuner.scheduling.worklist import worklist
from tuner.stages.conclusion import free_others, winning
from tuner.storage import keeping

OVERRIDES = ("name=made-up", "pruning.imp.rounds=3", "pruning.random.levels=[1]")
LEVELS = ("downstream.0.levels=[0,1,2,3]",)


@pytest.fixture
def study():
    return made_up.study()


@pytest.fixture
def ledger(study, tmp_path):
    """All results, and the weights of all transfers."""
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study))
    for cell in grid.transfers(study):
        ledger.write(weights(cell.transfer), {}, {"weights.safetensors": bytes(100)})
    return ledger


def kept(ledger):
    return ledger.keys(Weights)


def judged_otherwise(study):
    attack = Attack(kind="pgd", epsilon=0.3, alpha=0.1, steps=7)
    return tiny(*OVERRIDES, *LEVELS, *judging.judged_otherwise(study, attack, "plain"))


def test_a_study_judged_otherwise_trains_no_transfer(study, ledger):
    other = worklist(judged_otherwise(study), ledger)
    assert not other.complete & other.grid.transfers.keys()
    assert keeping.judged_only(other) == set(other.grid.transfers)
    assert keeping.judged_only(worklist(study, ledger)) == set()


def test_what_has_kept_no_weights_is_trained(study, ledger):
    lost = grid.transfers(study)[3]
    for file in (folder := ledger.folder(weights(lost.transfer))).iterdir():
        file.unlink()
    folder.rmdir()
    other = worklist(judged_otherwise(study), ledger)
    assert len(keeping.judged_only(other)) == len(other.grid.transfers) - 1


def test_further_checks_are_of_the_chosen_tickets_and_dense_alone(study):
    check = AutoAttackCheck(kind="autoattack", epsilon=0.1)
    place = ("standard", "imp", "digits", 1.0, 2)
    other = tiny(*OVERRIDES, *LEVELS, *judging.checked(study, [check], [place]))
    checked = {(c.regime, c.ticket_cell.level) for c in grid.transfers(other) if c.transfer.checks}
    assert checked == {("adversarial", 0), ("adversarial", 2)}
    again = judging.checked(other, [check], [place])
    assert again == []


def test_the_dense_network_is_checked_once_however_many_tickets_win(study):
    check = AutoAttackCheck(kind="autoattack", epsilon=0.1)
    places = [("standard", pruning, "digits", 1.0, 1) for pruning in ("imp", "random")]
    other = tiny(*OVERRIDES, *LEVELS, *judging.checked(study, [check], places))
    assert {len(c.transfer.checks or ()) for c in grid.transfers(other)} == {0, 1}


def test_the_verdicts_levels_and_dense_are_spared(study, ledger):
    work = worklist(study, ledger)
    assert ("standard", "imp", "digits", 1.0, 2) in winning(work)
    before = len(kept(ledger))
    assert free_others(work) > 0
    left = {
        (cell.ticket_cell.pruning, cell.ticket_cell.level)
        for cell in grid.transfers(study)
        if cell.weights_key in kept(ledger)
    }
    assert left == {("dense", 0), ("imp", 2)} and len(kept(ledger)) < before


def test_weights_are_kept_where_the_disk_has_room(study, ledger, tmp_path, monkeypatch):
    work, said = worklist(study, open_ledger(tmp_path / "new")), []
    made_up.write_source(study, Ledger(tmp_path / "new"))
    assert keeping.keeps(None, work, said.append) and not said
    Disk = namedtuple("Disk", "total used free")
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: Disk(9, 9, 9_000))
    assert not keeping.keeps(None, work, said.append) and len(said) == 1
    assert keeping.keeps("all", work, said.append) and keeping.keeps("winners", work, said.append)
    assert not keeping.keeps("none", work, said.append) and len(said) == 1


def test_clean_frees_the_weights_of_a_study_on_demand(study, ledger, tmp_path):
    path = f"{write(study, tmp_path).name}.yaml"
    where = [path, "--storage", str(ledger.root), "--yes"]
    assert call("tuner", "clean", *where, cwd=tmp_path).code == 0
    assert len(kept(ledger)) == len(grid.transfers(study))
    assert call("tuner", "clean", *where, "--weights", cwd=tmp_path).code == 0
    assert not kept(ledger) and len(ledger.keys(type(grid.transfers(study)[0].transfer))) == 20


@pytest.mark.parametrize("which", [["--winners"], ["--levels", "2"]])
def test_how_tickets_are_judged_has_to_be_said(study, ledger, tmp_path, which):
    path = f"{write(study, tmp_path).name}.yaml"
    where = [path, "--storage", str(ledger.root), *which]
    ended = call("tuner", "evaluate", *where, cwd=tmp_path)
    assert ended.code == 2 and "--autoattack" in ended.err
