"""The paper's items: what can answer them, what that costs, and how it is shown."""

import json
from functools import cache

import pandas as pd
import pytest

from analysis.reproduction import table
from analysis.reproduction.answers import Held
from analysis.reproduction.cost import labelled, trainings
from analysis.reproduction.items import ITEMS
from analysis.reproduction.numbers import Extreme, TransferAttack
from analysis.tables import paper
from analysis.verdict.results import Results, frame, row
from search_spaces import grid
from search_spaces.reading import studies
from tests.support import synthetic


@cache
def cells(name):
    return labelled(studies.load(name))


def test_every_item_is_answerable_by_the_studies_it_names():
    for item in ITEMS:
        assert item.studies
        for name in item.studies:
            assert trainings(item.question, cells(name)) > 0, (item, name)


def test_stated_numbers_are_those_of_the_papers_abstract():
    """89.26 / 73.79, 89.26 / 79.03 and 91.41 / 83.22 % on CIFAR-10 / CIFAR-100."""
    found = {
        (item.question.theta, item.question.dataset): item.stated
        for item in ITEMS
        if item.place == "Figure 3" and isinstance(item.question, Extreme)
    }
    assert {key: share for key, share in found.items() if key[1] != "svhn"} == {
        ("standard", "cifar10"): 0.8926,
        ("standard", "cifar100"): 0.7379,
        ("fast_adversarial", "cifar10"): 0.8926,
        ("fast_adversarial", "cifar100"): 0.7903,
        ("adversarial", "cifar10"): 0.9141,
        ("adversarial", "cifar100"): 0.8322,
    }


def test_costs_are_counted_from_nothing():
    # 20 levels, 2 regimes and 3 seeds; 18 of IMP's 19 rounds train; thetas are loaded.
    assert trainings(Extreme("cifar100", "adversarial"), cells("paper")) == 120 + 18
    assert trainings(Extreme("cifar100", "adversarial", "random"), cells("paper")) == 120
    # Three seeds, thirteen rounds before level 14, and the network that images are attacked on.
    assert trainings(TransferAttack("cifar10", "adversarial", 14), cells("paper")) == 3 + 13 + 1
    # A search asks for 18 at the most; theta is trained, and 15 of 16 rounds.
    assert trainings(Extreme("gtsrb", "standard"), cells("cifar")) == 18 + 1 + 15


FEW = {"fractions": [1.0], "seeds": [0, 1], "levels": [0, 9, 10, 12]}


@pytest.fixture(scope="module")
def large():
    """A study with made-up scores, as held."""
    study = synthetic.large_study(**FEW)
    rows, metrics = [], {}
    for number, cell in enumerate(grid.transfers(study)):
        sa, ra = synthetic.scores(cell.labels)
        rows.append(row(cell.labels, str(number), "complete", {"SA": sa, "RA": ra}))
        metrics[str(number)] = {"RA_transfer_attack": ra / 2}
    return Held(Results(study, frame(rows)), metrics, lambda name: pd.DataFrame())


def test_answers_are_those_of_the_tables(large):
    (found,) = (
        each.answer
        for each in table.rows({"paper": large})
        if each.item.question == Extreme("cifar100", "fast_adversarial")
    )
    wide = paper.extreme_table(large.results.expected, large.results.study)
    own = wide[(wide["dataset"] == "cifar100") & (wide["pruning"] == "imp")]
    assert found.value == own[own["fraction"] == 1]["fast_adversarial"].iloc[0]
    assert found.text == f"{100 * found.value:.2f} %"


def test_transfer_attacks_are_means_over_seeds(large):
    found = TransferAttack("cifar10", "adversarial", 10).answer(large)
    rows = large.results.expected
    own = rows[(rows["dataset"] == "cifar10") & (rows["fraction"] == 1) & (rows["level"] == 10)]
    own = own[(own["theta"] == "adversarial") & (own["pruning"] == "imp")]
    assert found.value == pytest.approx(own.loc[own["regime"] == "adversarial", "RA"].mean() / 2)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(large, width):
    for held in ({}, {"paper": large, "claims": large}):
        found = table.rows(held)
        assert {each.status for each in found} == (
            {"runnable", "answered"} if held else {"runnable"}
        )
        shown = table.lines(found, width)
        assert max(map(len, shown)) <= width
        assert sum("transfer attack, level" in line for line in shown) == 4


def test_without_a_store_the_command_says_what_is_runnable(analysis, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, out, err = analysis("paper", "--format", "json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert len(rows) == len(ITEMS)
    assert {each["status"] for each in rows} == {"runnable"}
    assert analysis("paper", "--study", "quickstart").code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_answers_from_a_store(analysis, tmp_path):
    study = synthetic.large_study("paper", **FEW)
    store = synthetic.Bulk(tmp_path)
    store.add(study)
    for only in ((), ("--study", "paper")):
        ended = analysis("paper", "--tracking-uri", store.uri, "--format", "json", *only)
        assert ended.code == 0
        rows = [each for each in json.loads(ended.out) if each["status"] == "answered"]
        answered = {each["what"]: each for each in rows}
        own = answered["cifar10, fast_adversarial"]
        assert (own["study"], own["paper"], own["missing"]) == ("paper", 0.8926, 0)
        wide = paper.extreme_table(synthetic.table(study), study)
        assert own["ours"] == pytest.approx(wide["fast_adversarial"].iloc[0])
        assert "curves, IMP" in answered and "kernels of masks" not in answered
