"""Studies and results as values: nothing is trained, no Ray is started."""

import pytest
import torch

from doublewin import InputError, Progress, Study
from doublewin.process import run
from search_spaces import grid
from tests.support import finished, made_up
from tests.support.studies import write
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a made-up study lies with all its results."""
    monkeypatch.chdir(tmp_path)
    study = write(made_up.study(), tmp_path)
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    made_up.write_transfers(ledger, grid.transfers(study))
    return tmp_path


def test_a_change_gives_another_study():
    study = Study.load("quickstart")
    other = study.with_({"downstream.0.seeds": [7, 8], "name": "other"}).with_({"name": "third"})
    assert other.content.downstream[0].seeds == (7, 8) and other.content.name == "third"
    assert study.content.name == "quickstart"
    assert "quickstart" in Study.shipped()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"downstream.0.sedes": [1]}, "sedes"), ({"downstream.0.seeds": "x"}, "downstream.0.seeds")],
)
def test_what_cannot_be_is_refused_at_once(changes, named):
    with pytest.raises(InputError, match=named):
        Study.load("quickstart").with_(changes)
    with pytest.raises(InputError, match="quickstrat"):
        Study.load("quickstrat")


def test_results_are_what_the_command_line_shows(folder):
    results = Study.load("made-up.yaml").results()
    assert results.complete and len(results.table) == 20
    judged = results.extreme().set_index("pruning")
    assert judged.loc["imp", "level"] == 2
    assert len(results.verdict().splitlines()) == len(judged)
    assert results.extreme("one-std").set_index("pruning").loc["imp", "level"] == 2
    assert results.figure("fig3", width=4.0).get_size_inches()[0] == pytest.approx(4.0)
    plan = Study.load("made-up.yaml").plan()
    assert list(plan["total"]) == list(plan["complete"]) and plan["total"].sum() == 26
    for refused in (lambda: results.extreme("best"), lambda: results.figure("fig9")):
        with pytest.raises(InputError, match="one of"):
            refused()
    with pytest.raises(InputError, match="standard/imp/1"):
        results.ticket("standard/imp/9")


def test_networks_are_those_of_tickets_and_of_transfers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished.finish(finished.write(tmp_path), ledger := open_ledger(tmp_path / "results"))
    results, name = Study.load("tiny.yaml").results(), f"standard/magnitude/{finished.LEVEL}"
    (cell,) = (c for c in grid.tickets(finished.studies.load("tiny.yaml", [])))
    mask = read(ledger.file(cell.ticket, "mask.safetensors"))
    ticket, network = results.ticket(name), results.network(f"{name}/mnist-mini/adversarial/0")
    for net in (ticket, network):
        weights = net.state_dict()
        assert all((weights[layer][~kept] == 0).all() for layer, kept in mask.items())
    assert not torch.equal(ticket.conv1.weight, network.conv1.weight)
    for missing in (name, f"{name}/mnist-mini/adversarial/9"):
        with pytest.raises(InputError):
            results.network(missing)


def test_of_a_study_without_results_there_is_nothing_to_show(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = Study.load("quickstart").results()
    assert not results.complete and results.table.empty and results.tickets == []
    assert results.verdict() == ""
    assert not (tmp_path / "results").exists()


def test_a_run_of_what_is_complete_ends_without_a_word(folder, capfd):
    assert Study.load("made-up.yaml").run(progress=print).complete
    assert capfd.readouterr() == ("", "")


def test_a_command_that_refuses_its_input_raises_its_line(folder):
    with pytest.raises(InputError, match=r"study nothing\.yaml"):
        run(["nothing.yaml"], None)


def test_progress_reads_as_a_line():
    assert str(Progress("transfers", 1, 8, ("a: epoch 1/2",))) == "transfers: 1/8, a: epoch 1/2"
