"""A network's source that changed under stored results is told."""

import pytest

from search_spaces import grid
from tests.support.studies import tiny
from trainables.store.ledger import open_ledger
from tuner.storage.inputs import resolve
from tuner.storage.sources import changed


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "some_net.py"
    file.write_text("def network(classes): ...\n")
    return file


def test_changed_sources_are_told_until_there_are_new_results(source, tmp_path):
    def study():
        return resolve(tiny("source.model={arch: some_net:network}"), tmp_path)

    def write(theta):
        ledger.write(theta, {"state": "complete"}, {"weights.safetensors": b""})

    ledger = open_ledger(tmp_path / "results")
    assert changed(study(), ledger) == []
    (first,) = grid.thetas(study())
    write(first.theta)
    assert changed(study(), ledger) == []
    source.write_text(source.read_text() + "# a comment\n")
    (line,) = changed(study(), ledger)
    assert "some_net:network" in line and first.theta.model.sha256[:12] in line
    assert changed(tiny(), ledger) == []
    write(grid.thetas(study())[0].theta)
    assert changed(study(), ledger) == []
