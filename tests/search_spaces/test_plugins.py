"""The example package of docs/plugin, as installed: found by name, named in the record."""

import shutil
import sys
import tomllib

import pytest
import torch

from search_spaces import grid, own
from search_spaces.errors import InputError
from tests.support.paths import ROOT
from tests.support.studies import tiny
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.runtime import own as code
from trainables.store.ledger import open_ledger
from trainables.training.ranks import Shard
from tuner.storage.inputs import check, resolve

EXAMPLE = ROOT / "docs" / "plugin"
CPU = torch.device("cpu")


def install(folder, name):
    """What pip makes of the example, under a name of its own."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head)
    (metadata / "top_level.txt").write_text("double_win_example\n")
    sections = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(sections))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on Python's path with the example in it."""
    shutil.copy(EXAMPLE / "double_win_example.py", tmp_path)
    install(tmp_path, "double-win-example")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("double_win_example", None)


def test_a_name_means_what_the_package_offers(site):
    study = tiny(
        "source.model={arch: two-layers}", "pruning={s: {method: smallest, levels: [1, 2]}}"
    )
    assert study.source.model.arch == "double_win_example:two_layers"
    assert study.pruning["s"].method == "double_win_example:smallest"
    named = tiny(
        "source.model={arch: 'double_win_example:two_layers'}",
        "pruning={s: {method: 'double_win_example:smallest', levels: [1, 2]}}",
    )
    assert study == named
    assert callable(code.load(study.source.model.arch))


def test_a_result_says_which_package_made_it(site, tmp_path):
    study = tiny("source.model={arch: two-layers}")
    (theta,) = grid.thetas(study)
    ledger = open_ledger(tmp_path / "results")
    ledger.write(theta.theta, {"state": "complete"}, {})
    packages = {"double_win_example:two_layers": "double-win-example 0.1"}
    assert ledger.result(theta.theta) == {"state": "complete", "packages": packages}
    assert code.packages(["absent:thing"]) == {}


def test_a_data_set_is_what_the_package_returns(site, tmp_path):
    study = tiny("source.dataset={name: bars, size: 8}")
    assert study.source.dataset.name == "double_win_example:bars"
    known = resolve(study, tmp_path)
    check(known)
    assert (known.source.dataset.title, len(known.source.dataset.sha256)) == ("bars", 64)
    (theta,) = grid.thetas(known)
    ledger = open_ledger(tmp_path / "results")
    list(run_chain(Chain(theta=theta.theta, plans=()), Worker(ledger, Shard(), CPU)))
    result = ledger.result(theta.theta)
    assert result["packages"] == {"double_win_example:bars": "double-win-example 0.1"}
    assert result["test"]["sa"] >= 0.5


def test_what_is_offered_is_listed(site, tuner):
    code, out, _ = tuner("list")
    assert code == 0
    assert "two-layers: double_win_example:two_layers (double-win-example 0.1)" in out
    assert "smallest" in out and "resnet18" in out and "synflow" in out
    assert "bars: double_win_example:bars (double-win-example 0.1)" in out and "mnist-mini" in out


def test_a_name_that_nobody_or_more_than_one_offers_is_refused(site):
    with pytest.raises(InputError, match="three-layers"):
        tiny("source.model={arch: three-layers}")
    install(site, "another")
    with pytest.raises(InputError, match="another"):
        own.offered("networks")


def test_the_example_is_short():
    lines = sum(len(path.read_text().splitlines()) for path in EXAMPLE.iterdir() if path.is_file())
    assert lines <= 45
