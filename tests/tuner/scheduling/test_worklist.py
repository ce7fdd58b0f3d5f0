"""What a study's searches ask of a ledger, without training: scores are written by hand."""

from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import save

from search_spaces import grid
from search_spaces.reading import studies
from trainables.store.ledger import open_ledger
from tuner.scheduling.adaptive import Cell
from tuner.scheduling.level_searches import known_result
from tuner.scheduling.worklist import worklist
from tuner.storage import state

TEXT = """
name: searched
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8, width: 8}
  pretrainings:
    standard: {train: {recipe: &recipe {epochs: 1, lr: 0.1}}}
    adversarial: {train: {recipe: *recipe, attack: &pgd {kind: pgd, epsilon: 0.1, alpha: 0.1}}}
pruning:
  imp: {method: imp, rounds: 6, retraining: {recipe: *recipe}}
  random: {method: random, levels: [2, 4], pretrainings: [adversarial]}
downstream:
  - dataset: {name: digits, size: 16}
    levels: {bounds: [2, 6], budget: 30, most_seeds: 6}
    seeds: [0, 1]
    regimes: &regimes
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: *pgd}
  - dataset: {name: digits, size: 16, label: listed}
    levels: [0, 6]
    seeds: [0]
    regimes: *regimes
evaluation: {attack: *pgd}
"""
IMAGES = 400


def study(**changes):
    data = studies.parse(TEXT, "searched")
    data["downstream"][0] |= changes
    return studies.validate(data, "searched")


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(tmp_path / "results")


def losses(cell):
    """Levels from 5 on lose 20 points, and all of random's levels."""
    level, pruning = cell.ticket_cell.level, cell.ticket_cell.pruning
    return 0.2 if level >= 5 or pruning == "random" else 0.0


def finish(ledger, cell):
    """Writes what a trained transfer leaves: scores, and the images that it gets right."""
    rng = np.random.default_rng((cell.transfer.seed, cell.ticket_cell.level, len(cell.regime)))
    right = {
        name: (np.arange(IMAGES) < IMAGES * (share - losses(cell))) ^ (rng.random(IMAGES) < 0.002)
        for name, share in (("clean", 0.9), ("attacked", 0.5))
    }
    test = {"sa": float(right["clean"].mean()), "ra": float(right["attacked"].mean())}
    bits = {"correct.safetensors": save(right)}
    ledger.write(
        cell.transfer, {"state": "complete", "test": test, "started": 0.0, "ended": 1.0}, bits
    )


def train(of, ledger, settle=False, count=10**6, failing=lambda cell: False):
    """Trains what a worklist hands out, at most `count`; gives the keys."""
    plan, trained = worklist(of, ledger, settle), []
    while len(trained) < count and (name := plan.queue.next()):
        trained.append(name)
        if failing(plan.grid.transfers[name]):
            plan.queue.ended(name, None)
            continue
        finish(ledger, plan.grid.transfers[name])
        plan.queue.ended(name, plan.queue.known(name))
    return trained


def test_a_search_for_each_theta_pruning_and_task(ledger):
    plan = worklist(study(), ledger)
    # imp from both thetas, random from one; the listed task has none.
    assert len(plan.searches) == 3
    assert [search.search.plan.levels for search in plan.searches] == [
        (2, 3, 4, 5, 6),
        (2, 3, 4, 5, 6),
        (2, 4),
    ]
    assert {search.search.plan.seeds for search in plan.searches} == {tuple(range(6))}
    assert {search.search.plan.budget for search in plan.searches} == {30}
    settling = worklist(study(), ledger, settle=True)
    assert all(search.search.plan.budget > 10**6 for search in settling.searches)


def test_jobs_are_the_cells_of_the_study(ledger):
    plan = worklist(study(), ledger)
    for search in plan.searches:
        for cell in (Cell(0, "standard", 5), Cell(4, "adversarial", 0)):
            found = plan.grid.transfers[search.job(cell)]
            assert (found.ticket_cell.level, found.regime, found.transfer.seed) == cell
            assert found.task.adaptive
    theirs = plan.searches[1:]  # of one theta, they share its dense network
    dense, pruned = Cell(0, "standard", 0), Cell(4, "standard", 0)
    assert len({search.job(dense) for search in theirs}) == 1
    assert len({search.job(pruned) for search in theirs}) == 2


def test_wanted_are_the_listed_and_what_searches_have_asked_for(ledger):
    plan = worklist(study(), ledger)
    found = Counter(
        (c.labels["dataset"], c.labels["theta"], c.labels["pruning"]) for c in plan.wanted.values()
    )
    assert found == {
        ("digits", "standard", "dense"): 4,  # two seeds, two regimes
        ("digits", "standard", "imp"): 8,  # four probes of five levels
        ("digits", "adversarial", "dense"): 4,
        ("digits", "adversarial", "imp"): 8,
        ("digits", "adversarial", "random"): 4,
        **{("listed", theta, "dense"): 2 for theta in ("standard", "adversarial")},
        **{("listed", theta, "imp"): 2 for theta in ("standard", "adversarial")},
    }
    assert plan.queue.left == len(plan.wanted)


def test_all_of_it_is_trained_once_and_then_nothing_is_left(ledger):
    trained = train(study(), ledger)
    assert len(set(trained)) == len(trained)
    plan = worklist(study(), ledger)
    assert plan.queue.over and set(plan.wanted) == set(trained)
    assert [search.search.finding().extreme for search in plan.searches] == [3, 3, 0]
    assert train(study(), ledger) == []


@pytest.mark.parametrize("count", [1, 5, 17, 30])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path, count):
    whole = train(study(), open_ledger(tmp_path / "whole"))
    parts = open_ledger(tmp_path / "parts")
    first = train(study(), parts, count=count)
    second = train(study(), parts)
    assert len(first) == count and not set(first) & set(second)
    assert {*first, *second} == set(whole)


def test_what_is_lost_is_restored(ledger):
    from shutil import rmtree

    whole = train(study(), ledger)
    cells = worklist(study(), ledger).grid.transfers
    lost = whole[::4]
    for name in lost:
        rmtree(ledger.folder(cells[name].transfer))
    assert set(train(study(), ledger)) == set(lost)


def test_settle_goes_on_beyond_the_budget(ledger):
    narrow = study(levels={"bounds": [2, 6], "budget": 12, "most_seeds": 6}, margin=0.006)
    first = train(narrow, ledger)
    plan = worklist(narrow, ledger)
    assert all(len(search.jobs) <= 12 for search in plan.searches)
    more = train(narrow, ledger, settle=True)
    assert more and not set(more) & set(first)
    assert train(narrow, ledger, settle=True) == []
    # Once more without it: nothing is left, and the table holds what settling trained.
    assert train(narrow, ledger) == []
    results = state.results(worklist(narrow, ledger))
    table, correct = results.expected, results.correct
    assert set(table["key"]) == {*first, *more} == set(correct)
    assert not table["SA"].isna().any()


def test_tickets_that_are_not_there_do_not_stop_the_others(ledger):
    broken = ("imp", 4)

    def failing(cell):
        return (cell.ticket_cell.pruning, cell.ticket_cell.level) == broken

    trained = train(study(), ledger, failing=failing)
    plan = worklist(study(), ledger)
    tried = [n for n in trained if failing(plan.grid.transfers[n])]
    assert len(tried) <= 2 * 2 * 2
    done = {
        (c.ticket_cell.pruning, c.ticket_cell.level)
        for c in plan.grid.transfers.values()
        if ledger.has(c.transfer)
    }
    assert {("dense", 0), ("imp", 3), ("imp", 5), ("random", 2)} <= done
    # The next run tries them again.
    assert not plan.queue.over


def test_a_known_result_is_the_ledgers(ledger):
    cells = {cell.key: cell for cell in grid.transfers(study())}
    name, cell = next(iter(cells.items()))
    assert known_result(ledger, cells, name) is None
    finish(ledger, cell)
    result = known_result(ledger, cells, name)
    assert result.scores["SA"] == result.correct["SA"].mean()
    assert result.scores["RA"] == result.correct["RA"].mean()
    assert result.correct["SA"].dtype == bool and result.correct["SA"].shape == (IMAGES,)


def test_a_table_has_what_is_wanted_and_what_is_there(ledger):
    plan = worklist(study(), ledger)
    extra = next(
        c
        for c in plan.grid.transfers.values()
        if c.optional and c.key not in plan.wanted and c.labels["level"]
    )
    finish(ledger, extra)
    results = state.results(worklist(study(), ledger))
    table, correct = results.expected, results.correct
    assert len(table) == len(plan.wanted) + 1
    assert list(table[table["state"] == "complete"]["key"]) == [extra.key] == list(correct)
    assert table["SA"].isna().sum() == len(plan.wanted)


def test_a_study_without_searches_loads_no_statistics(ledger):
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from search_spaces.reading import studies\n"
        "from trainables.store.ledger import Ledger\n"
        "from tuner.scheduling.worklist import worklist\n"
        "from tuner.storage.state import counts\n"
        "counts(worklist(studies.load('quickstart'), Ledger(Path('nowhere'))))\n"
        "heavy = {'scipy', 'pandas', 'torch', 'ray', 'mlflow'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
