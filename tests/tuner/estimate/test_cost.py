"""Counts times prices by hand, what finished work says, and a plan that grows no faster
than the study."""

import socket
import time

import pytest

from search_spaces import grid
from search_spaces.reading import studies
from trainables.estimate.steps import steps, training
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster.capacity import Capacity
from tuner.estimate import cost
from tuner.estimate.prices import Price
from tuner.scheduling.worklist import worklist

TWO_CORES = Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
SECONDS = 0.01


@pytest.fixture
def study():
    return studies.load("quickstart")


def outlook(study, ledger, capacity=TWO_CORES, device="cpu"):
    return cost.outlook(worklist(study, ledger), capacity, device)


def estimated(study, ledger, capacity=TWO_CORES):
    ahead = outlook(study, ledger, capacity)
    return cost.estimate(ahead, dict.fromkeys(ahead.steps, Price(SECONDS, 78_000)))


def price(spec):
    kind = training(spec)
    return cost.IN_PRACTICE * SECONDS * sum(steps(kind).values()) if kind else 0


def test_an_estimate_is_counted_steps_times_their_price(study, tmp_path):
    estimate = estimated(study, Ledger(tmp_path))
    transfers = sum(price(c.transfer) + cost.BETWEEN for c in grid.transfers(study))
    source = sum(price(c.theta) for c in grid.thetas(study)) + 3 * cost.FIT_START
    source += sum(price(c.ticket) for c in grid.tickets(study))
    assert estimate.middle == pytest.approx(cost.START + (source + transfers) / 2)
    assert estimate.low < estimate.middle < estimate.high
    rows = sum(seconds for (stage, _), seconds in estimate.rows.items() if stage == "transfers")
    assert rows == pytest.approx(transfers / 2)


def test_many_cores_wait_for_the_longest_chain_and_the_longest_transfer(study, tmp_path):
    wide = Capacity(cpus=640, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
    chains = {c.pretraining: price(c.theta) for c in grid.thetas(study)}
    for cell in grid.tickets(study):
        chains[cell.pretraining] += price(cell.ticket)
    longest = max(price(c.transfer) for c in grid.transfers(study))
    expected = cost.START + cost.FIT_START + max(chains.values()) + longest
    assert estimated(study, Ledger(tmp_path), wide).middle == pytest.approx(expected)


def finish(ledger, cells, seconds, **changed):
    for cell in cells:
        result = {"started": 0.0, "ended": seconds, "host": socket.gethostname(), "device": "cpu"}
        ledger.write(cell.transfer, {**result, **changed}, {})


def test_finished_work_of_a_kind_counts_before_its_price(study, tmp_path):
    ledger, cells = open_ledger(tmp_path), grid.transfers(study)
    finish(ledger, [c for c in cells if c.transfer.seed == 0], 4.0)
    ahead = outlook(study, ledger)
    assert set(ahead.took.values()) == {4.0}
    estimate = cost.estimate(ahead, dict.fromkeys(ahead.steps, Price(SECONDS, 78_000)))
    left = sum(seconds for (stage, _), seconds in estimate.rows.items() if stage == "transfers")
    assert left == pytest.approx(sum(c.transfer.seed > 0 for c in cells) * (4 + cost.BETWEEN) / 2)


@pytest.mark.parametrize("changed", [{"host": "elsewhere"}, {"ended": None}, {"device": "cuda"}])
def test_what_is_not_comparable_says_nothing(study, tmp_path, changed):
    ledger = open_ledger(tmp_path)
    finish(ledger, grid.transfers(study)[:2], 4.0, **changed)
    assert outlook(study, ledger).took == {}


def test_without_a_price_there_is_no_estimate(study, tmp_path):
    ahead = outlook(study, Ledger(tmp_path))
    known = dict.fromkeys(ahead.steps[:-1], Price(SECONDS, 78_000))
    assert cost.estimate(ahead, known) is None


def test_what_is_complete_costs_nothing(study, tmp_path):
    ledger = open_ledger(tmp_path)
    for spec in grid.expand(study).sources.values():
        ledger.write(spec, {}, {"weights.safetensors": bytes(400)})
    finish(ledger, grid.transfers(study)[:-1], 4.0)
    ahead = outlook(study, ledger)
    assert (ahead.pieces.total(), ahead.weights, ahead.steps) == (1, 100, [])
    assert cost.estimate(ahead, {}).size > 0
    finish(ledger, grid.transfers(study)[-1:], 4.0)
    assert cost.estimate(outlook(study, ledger), {}) is None


def test_a_search_counts_with_its_whole_budget(tmp_path):
    study = studies.load("adaptive", ["downstream.0.levels.budget=41"])
    pieces = outlook(study, Ledger(tmp_path)).pieces
    standard, adversarial = sorted(n for p, n in pieces.items() if p.stage == "transfers")
    assert standard + adversarial == 3 * 41
    assert adversarial - standard <= 3


def test_finished_work_of_every_kind_narrows_the_range(study, tmp_path):
    ledger = open_ledger(tmp_path)
    wide = estimated(study, ledger)
    for spec in grid.expand(study).sources.values():
        ledger.write(spec, {}, {"weights.safetensors": bytes(400)})
    cells = grid.transfers(study)
    finish(ledger, [c for c in cells if c.transfer.seed == 0], 4.0)
    narrow = estimated(study, ledger)
    assert 1 < narrow.high / narrow.low < wide.high / wide.low


def test_disk_is_weights_masks_and_records(study, tmp_path):
    size = estimated(study, Ledger(tmp_path)).size
    results = len(grid.expand(study).sources) + len(grid.transfers(study))
    cells = grid.transfers(study)
    kept = 4 * sum(1 - cell.ticket_cell.sparsity for cell in cells)
    weights = 78_000 * (4 * 3 + 2 * len(grid.tickets(study)) + kept)
    assert weights < size < weights + results * 60_000


def test_tickets_that_do_not_rewind_to_theta_hold_weights_of_their_own(study, tmp_path):
    imp = study.pruning["imp"].model_copy(update={"rewind": "learning_rate"})
    on = study.model_copy(update={"pruning": {**study.pruning, "imp": imp}})
    sizes = [estimated(each, Ledger(tmp_path)).size for each in (study, on)]
    tickets = sum(cell.pruning == "imp" for cell in grid.tickets(study))
    assert sizes[1] - sizes[0] == pytest.approx(4 * 78_000 * tickets)


def test_ten_thousand_transfers_are_estimated_in_proportion(tmp_path):
    def seconds(seeds):
        study = studies.load("quickstart", [f"downstream.0.seeds={list(range(seeds))}"])
        started = time.process_time()
        assert estimated(study, Ledger(tmp_path))
        return time.process_time() - started

    seconds(5)  # What is loaded at first use is not counted.
    few, many = seconds(30), seconds(300)
    assert many < 2 * 10 * few
