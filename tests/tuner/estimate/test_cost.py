"""Packing by hand and in bounds, correction by history, and a plan that grows no faster than the
study."""

import json
import math
import socket
import time
from collections import Counter
from dataclasses import replace
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import grid
from search_spaces.reading import studies
from trainables.estimate.work import TransferKind, transfer_kind, transfer_steps
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster.capacity import Capacity
from tuner.estimate import accounts, cost, history, packing, plan, prices, spread
from tuner.estimate.history import RunRecord
from tuner.estimate.workload import Workload, workload
from tuner.storage.state import standing

TWO_CORES = Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
HOST = socket.gethostname()
DURATIONS = st.lists(st.floats(0.0, 100.0), max_size=30)


@pytest.mark.parametrize(
    ("durations", "slots", "expected"),
    [
        ([], 3, 0),
        ([5], 3, 5),
        ([4, 3, 2], 1, 9),
        ([5, 4, 3, 3, 1], 2, 8),  # 5 3 against 4 3 1
        ([1, 1, 5], 2, 6),  # in the order given: the long one starts late
    ],
)
def test_makespan_by_hand(durations, slots, expected):
    assert packing.makespan(durations, slots) == expected


@given(DURATIONS, st.integers(1, 8))
def test_makespan_lies_between_its_bounds(durations, slots):
    found = packing.makespan(durations, slots)
    even = math.fsum(durations) / slots
    longest = max(durations, default=0)
    slack = 1e-9 * (1 + even)
    assert max(even, longest) - slack <= found <= even + longest + slack


@pytest.mark.parametrize(
    ("durations", "side_by_side", "cores", "expected"),
    [
        ([], 3, 2, 0),
        ([6], 1, 2, 6),
        ([3, 3, 3], 3, 2, 4.5),  # at two thirds of a core each
        ([1, 2], 2, 1, 3),  # half a core each until 2, then the second alone
        ([2, 2, 2], 2, 1, 6),
        ([3, 3, 3], 3, math.inf, 3),
    ],
)
def test_shared_makespan_by_hand(durations, side_by_side, cores, expected):
    assert packing.shared_makespan(durations, side_by_side, cores) == pytest.approx(expected)


@given(DURATIONS, st.integers(1, 6), st.integers(1, 6))
def test_shared_makespan_lies_between_its_bounds(durations, side_by_side, cores):
    found = packing.shared_makespan(durations, side_by_side, cores)
    work, longest = math.fsum(durations), max(durations, default=0)
    slack = 1e-6 * (1 + work)
    assert max(work / min(cores, side_by_side), longest) - slack <= found <= work + slack


@given(DURATIONS, st.integers(1, 6))
def test_with_a_core_each_nothing_is_shared(durations, side_by_side):
    alone = packing.makespan(durations, side_by_side)
    assert packing.shared_makespan(durations, side_by_side, side_by_side) == pytest.approx(alone)


@pytest.mark.parametrize(
    ("capacity", "slots"),
    [
        (Capacity(8, 0, 1, 1, 0), 8),
        (Capacity(8, 0, 1, 3, 0), 2),
        (Capacity(16, 2, 1, 1, 1), 2),
        (Capacity(16, 2, 1, 1, 0.3), 6),  # three on each
        (Capacity(4, 2, 1, 1, 0.25), 4),  # CPUs are fewer
        (Capacity(16, 4, 1, 1, 2), 2),
    ],
)
def test_transfers_side_by_side(capacity, slots):
    assert capacity.trials == slots


def test_ranges_add_without_cancelling():
    both = cost.Range(10, 0.5) + cost.Range(30, 0.1)
    assert both.middle == 40
    assert both.high == pytest.approx(15 + 33)
    assert cost.NOTHING + cost.Range(10, 0.5) == cost.Range(10, 0.5)


@pytest.fixture
def study():
    return studies.load("quickstart")


def priced(work, seconds=0.01):
    price = prices.Price(seconds, 0.05, 64, parameters=78_000, prunable=76_000)
    return dict.fromkeys(cost.kinds(work), price)


NO_HISTORY = history.History({}, [])


@pytest.fixture
def work(study, tmp_path):
    return workload(study, standing(study, Ledger(tmp_path)), workers=1)


def estimated(work, past=NO_HISTORY, known=None, capacity=TWO_CORES):
    known = priced(work) if known is None else known
    return cost.estimate(work, cost.Basis(known, past, capacity))


STEP = 0.01 * cost.IN_PRACTICE


def test_an_estimate_is_counted_steps_times_their_price(work):
    found = estimated(work)
    alone = {kind: STEP * sum(transfer_steps(kind).values()) for kind in work.transfers}
    every = sum(n * (alone[kind] + cost.TRIAL_START) for kind, n in work.transfers.items())
    slots = every + cost.BETWEEN * work.transfers.total()
    assert found.transfers.middle == pytest.approx(slots / 2, rel=0.02)
    # Three chains at two thirds of a core, of which the longest outlasts the others.
    chains = [STEP * sum(chain.steps.values()) for chain in work.chains]
    assert sum(chains) / 2 < found.source_model - 3 * cost.FIT_START < sum(chains)
    assert found.gpus == 0
    assert found.cores * 3600 == pytest.approx(slots + sum(chains) + cost.FIT_START * 3, rel=1e-6)
    assert found.wall.low < found.wall.middle < found.wall.high
    # The time between transfers is not scaled with theirs.
    assert 1.3 < found.wall.high / found.wall.middle < 1.35


def test_on_gpus_hours_are_gpu_hours(work):
    one = Capacity(cpus=16, gpus=1, workers=1, trial_cpus=1, trial_gpus=0.5)
    found = estimated(work, capacity=one)
    assert (found.cores, found.gpus > 0) == (0, True)
    assert found.gpus * 3600 == pytest.approx(
        found.transfers.middle + found.source.middle, rel=0.05
    )


def test_more_processes_than_cores_start_slower(work):
    wide = Capacity(cpus=64, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
    longest = max(STEP * sum(chain.steps.values()) for chain in work.chains)
    assert estimated(work, capacity=wide).source.middle == pytest.approx(cost.FIT_START + longest)


def test_without_a_price_there_is_no_estimate(work):
    known = priced(work)
    known.popitem()
    assert estimated(work, known=known) is None


def test_what_a_kind_took_counts_before_its_price(work):
    took = {kind: [4.0, 4.0, 4.0] for kind in work.transfers}
    found = estimated(work, history.History(took, []))
    assert found.transfers.middle == pytest.approx(102 / 2 * (4 + cost.BETWEEN))
    assert found.transfers.high == pytest.approx(
        102 / 2 * (4 * (1 + cost.TRIED) + cost.BETWEEN), rel=1e-6
    )


def test_finished_transfers_of_one_kind_correct_the_others(work):
    seen, *others = work.transfers
    basis = cost.Basis(priced(work), NO_HISTORY, TWO_CORES)
    model = {kind: cost.trial(kind, basis).middle for kind in work.transfers}
    past = history.History({seen: [3 * model[seen]] * 2}, [])
    corrected = cost.Basis(priced(work), past, TWO_CORES)
    for kind in others:
        assert cost.trial(kind, corrected).middle == pytest.approx(3 * model[kind])
        assert cost.trial(kind, corrected).error < cost.UNTRIED


def test_transfers_on_data_that_have_gone_correct_nothing(work, tmp_path):
    seen, *others = work.transfers
    gone = seen.dataset.model_copy(update={"name": "npz", "path": str(tmp_path / "gone.npz")})
    lost = seen.model_copy(update={"dataset": gone})
    past = history.History({lost: [3.0] * 2}, [])
    found = cost.trial(others[0], cost.Basis(priced(work), past, TWO_CORES))
    assert found == cost.trial(others[0], cost.Basis(priced(work), NO_HISTORY, TWO_CORES))


@pytest.mark.parametrize(
    ("ratios", "factor", "error"),
    [
        ([], 1, cost.UNTRIED),
        ([2.0], 2, cost.UNTRIED / 2),
        ([2.0, 2.0, 2.0], 2, cost.TRIED),
        ([1.0, 2.0, 3.0], 2, 1.0),
        ([2.0, 2.5], 2.25, cost.TRIED),
    ],
)
def test_corrections_by_hand(ratios, factor, error):
    assert cost.corrected(ratios) == (pytest.approx(factor), pytest.approx(error))


def record(**changed):
    values = {
        "study": "quickstart",
        "ended": 1.0,
        "host": HOST,
        "device": "cpu",
        "estimated": (200.0, 250.0, 300.0),
        "wall": 260.0,
        "source": 80.0,
        "source_model": 40.0,
        "transfers": 150.0,
        "between": 0.5,
        "results": 148,
        "failures": 0,
        "disturbed": False,
    }
    return RunRecord(**{**values, **changed})


def test_earlier_runs_correct_the_fixed_costs(work):
    found = estimated(work, history.History({}, [record(), record()]))
    plain = estimated(work)
    assert found.start.middle == 30
    assert found.source.middle == pytest.approx(2 * plain.source.middle)
    added = found.transfers.middle - plain.transfers.middle
    assert added == pytest.approx(102 / 2 * (0.5 - cost.BETWEEN))


def test_failed_and_disturbed_runs_and_their_transfers_say_nothing(study, tmp_path):
    ledger = open_ledger(tmp_path)
    finished(ledger, study, 3.0, count=4)
    finished(ledger, study, 30.0, count=10)  # Six more, ended at 1030.
    history.keep(record(failures=1), tmp_path)
    assert history.history(ledger, "cpu").runs == []
    assert sum(map(len, history.history(ledger, "cpu").trials.values())) == 10
    history.keep(record(disturbed=True, ended=1040.0, wall=20.0), tmp_path)
    history.keep(record(ended=2000.0), tmp_path)
    past = history.history(ledger, "cpu")
    assert [run.ended for run in past.runs] == [2000.0]
    assert [time for times in past.trials.values() for time in times] == [3.0] * 4


def test_records_come_back_and_foreign_lines_are_passed_over(tmp_path):
    history.keep(record(), tmp_path)
    with (tmp_path / history.FILE).open("a") as file:
        file.write('{"study": "x"}\nnot json\n[1]\n')
    history.keep(record(study="other", estimated=None), tmp_path)
    assert [r.study for r in history.records(tmp_path)] == ["quickstart", "other"]
    back = history.records(tmp_path)[0]
    assert (back.rest, back.wall) == (30.0, 260.0)
    assert history.records(tmp_path / "nowhere") == []


def finished(ledger, study, seconds, count=None, **provenance):
    """Writes the study's first `count` transfers as if each had taken `seconds`."""
    for number, cell in enumerate(grid.transfers(study)[:count]):
        shade = 0.001 * (7 * number % 13)
        result = {
            "started": 1000.0,
            "ended": 1000.0 + seconds,
            "host": HOST,
            "device": "cpu",
            "state": "complete",
            "test": {"sa": 0.9 + shade, "ra": 0.5 - shade},
            **provenance,
        }
        ledger.write(cell.transfer, result, {})


def test_the_ledger_tells_what_transfers_took(study, tmp_path):
    ledger = open_ledger(tmp_path)
    finished(ledger, study, 3.0)
    past = history.history(ledger, "cpu")
    kinds = Counter(transfer_kind(cell.transfer) for cell in grid.transfers(study))
    assert {kind: len(times) for kind, times in past.trials.items()} == kinds
    assert {time for times in past.trials.values() for time in times} == {3.0}
    assert history.history(ledger, "cuda").trials == {}


@pytest.mark.parametrize("changed", [{"host": "elsewhere"}, {"ended": None}, {"device": "cuda"}])
def test_what_is_not_comparable_says_nothing(study, tmp_path, changed):
    ledger = open_ledger(tmp_path)
    finished(ledger, study, 3.0, count=2, **changed)
    assert history.history(ledger, "cpu").trials == {}


def test_a_run_is_settled_against_its_forecast(study, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ledger = open_ledger(tmp_path / "results")
    finished(ledger, study, 4.0, count=60)
    forecast = accounts.forecast(study, ledger, TWO_CORES, busy=0.0)
    assert forecast.estimate is None, "no price of the source's steps is known"
    where = prices.machine(TWO_CORES)
    known = priced(workload(study, forecast.stands, workers=1))
    prices._keep({prices.key(step): price for step, price in known.items()}, where, None)
    assert accounts.forecast(study, ledger, TWO_CORES, busy=0.0).estimate.wall.middle > 60
    assert accounts.forecast(study, ledger, TWO_CORES, busy=0.0, local=False).estimate is None
    finished(ledger, study, 4.0)
    of = accounts.settle(forecast, ledger, 260.0, {"source": 80.0, "transfers": 105.0}, 0)
    # 42 transfers of 4 s in two slots took 105 s of each: 42 s lay between them.
    assert (of.between, of.results) == (pytest.approx(1.0), 46 + 42)
    assert (of.estimated, accounts.in_words(of)) == (None, None)
    assert accounts.numbers(of) == {
        "wall_seconds": 260.0,
        "source_seconds": 80.0,
        "transfers_seconds": 105.0,
    }


def test_an_account_in_words():
    words = accounts.in_words(record(estimated=(190.0, 230.0, 280.0), wall=252.0))
    assert words == "estimated 3 min 50 s (3 min 10 s to 4 min 40 s), took 4 min 12 s"
    assert accounts.numbers(record())["estimated_seconds"] == 250.0


def test_spreads_are_pooled_over_levels_of_paired_differences(study, tmp_path):
    study = studies.load(
        "quickstart",
        ["downstream.0.levels=[0,1,9]", "downstream.0.seeds=[0,1]"],
    )
    ledger = open_ledger(tmp_path)
    finished(ledger, study, 3.0)
    found = spread.spreads(standing(study, ledger), ledger)
    cells = [c for c in grid.transfers(study) if c.regime == "adversarial"]
    ra = {tuple(c.labels.values()): ledger.result(c.transfer)["test"]["ra"] for c in cells}
    squares = []
    for cell in cells:
        labels = cell.labels
        if labels["level"] and labels["seed"] == 0:
            dense = {**labels, "pruning": "dense", "level": 0, "sparsity": 0.0}
            pair = [
                100
                * (
                    ra[tuple({**labels, "seed": s}.values())]
                    - ra[tuple({**dense, "seed": s}.values())]
                )
                for s in (0, 1)
            ]
            squares.append(stdev(pair) ** 2)
    assert found.groups == len(squares) == 7
    assert found.values[2] == pytest.approx(math.sqrt(sum(squares) / len(squares)))


def test_spreads_are_assumed_where_nothing_is_finished(study, tmp_path):
    found = spread.spreads(standing(study, Ledger(tmp_path)), Ledger(tmp_path))
    assert found.groups == 0
    assert found.values == tuple(math.sqrt(2) * s for s in spread.ASSUMED)


def test_what_is_complete_costs_nothing(study, tmp_path):
    stands = standing(study, Ledger(tmp_path))
    done = replace(
        stands,
        **{
            name: [(cell, True) for cell, _ in getattr(stands, name)]
            for name in ("thetas", "tickets", "transfers")
        },
    )
    left = workload(study, done, workers=1)
    assert (left.chains, left.transfers.total()) == ([], 0)
    nothing = estimated(left, known={})
    assert (nothing.wall.middle, nothing.cores, nothing.gpus) == (0, 0, 0)
    assert workload(study, done, 1, whole=True).transfers.total() == 102


def test_a_search_counts_with_its_whole_budget(tmp_path):
    study = studies.load("adaptive", ["downstream.0.levels.budget=41"])
    stands = standing(study, Ledger(tmp_path))
    work = workload(study, stands, 1)
    assert sum(not done for _, done in stands.transfers) < work.transfers.total() == 3 * 41
    standard, adversarial = sorted(work.transfers.values())
    assert adversarial - standard <= 3


def test_ten_thousand_transfers_plan_in_proportion(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = prices.machine(TWO_CORES)

    def seconds(seeds):
        study = studies.load("quickstart", [f"downstream.0.seeds={list(range(seeds))}"])
        started = time.process_time()
        stands = standing(study, Ledger(tmp_path))
        work = workload(study, stands, 1)
        prices._keep({prices.key(s): p for s, p in priced(work).items()}, where, None)
        plan.show(study, stands, tmp_path, TWO_CORES, print, measure=False)
        return time.process_time() - started

    seconds(5)  # What is loaded at first use is not counted.
    few, many = seconds(30), seconds(300)
    assert capsys.readouterr().out.count("device time: ") == 3
    assert many < 2 * 10 * few


def test_a_plan_prints_cost_and_what_hours_buy(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    stands = standing(study, Ledger(tmp_path))
    known = priced(workload(study, stands, 1))
    monkeypatch.setattr(prices, "known", lambda *_: known)
    plan.show(study, stands, tmp_path, TWO_CORES, pytest.fail, [1.0, 50.0], measure=False)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("time: ") and " min " in out[0] and " to " in out[0]
    assert any(line.startswith("device time: 0.") and "core-hours" in line for line in out)
    rows = [line.split() for line in out if line.strip().startswith(("as planned", "1 h", "50 h"))]
    assert rows[0][2] == "3"
    assert "57" in rows[0]
    assert int(rows[1][2]) < int(rows[2][2])
    assert "assumed" in out[-1]


def test_kinds_are_spec_values():
    (cell, *_) = grid.transfers(studies.load("quickstart"))
    one, other = transfer_kind(cell.transfer), transfer_kind(cell.transfer)
    assert one == other and hash(one) == hash(other) and isinstance(one, TransferKind)
    assert one == TransferKind.model_validate(json.loads(one.model_dump_json()))
    assert Workload([], Counter([one]), 3.0).test_images(one) == 500
