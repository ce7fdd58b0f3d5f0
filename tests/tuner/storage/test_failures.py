"""Failures are kept, told, shown and, if they last, not tried again."""

import errno

import pytest
import torch
from ray import cloudpickle
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerHealthCheckFailedError,
)

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.study import ChosenCheck
from tests.support import made_up
from tests.support.mlflow_store import empty_store
from tests.support.studies import write
from trainables.store.ledger import DamagedError, open_ledger
from tuner.scheduling.worklist import worklist
from tuner.stages import chains
from tuner.storage import failures
from tuner.storage.entries import entries, transfer_entry
from tuner.storage.failures import FailureReason
from tuner.tracking import backend, opening

BOOM = FailureReason("ValueError: boom 17", "Traceback ...\nValueError: boom 17", outside=False)
KILLED = FailureReason("The actor died unexpectedly", "", outside=True)


@pytest.fixture(scope="module")
def study():
    return made_up.study()


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(tmp_path / "results")


@pytest.fixture
def cell(study):
    return grid.transfers(study)[5]


@pytest.fixture
def fail(ledger, cell):
    """Records a failure of the transfer, as a run does."""
    return lambda why: failures.record(ledger, transfer_entry(cell), "made-up", why)


def of_task(cause):
    return RayTaskError("f", "Traceback ...", cause, proctitle="p", pid=1, ip="127.0.0.1")


@pytest.mark.parametrize(
    ("error", "said", "outside"),
    [
        (of_task(ValueError("boom\n at  17")), "ValueError: boom at 17", False),
        (of_task(InputError("weights: do not fit")), "InputError: weights: do not fit", False),
        (of_task(ValueError("x")).as_instanceof_cause(), "ValueError: x", False),
        (of_task(RuntimeError()), "RuntimeError", False),
        (of_task(OSError(errno.ENOSPC, "No space left")), "[Errno 28] No space left", True),
        (of_task(torch.OutOfMemoryError("CUDA out of memory")), "CUDA out of memory", True),
        (of_task(MemoryError()), "MemoryError", True),
        (of_task(DamagedError("weights: changed")), "DamagedError: weights: changed", True),
        (of_task(ActorDiedError()), "ActorDiedError", True),
        (ActorDiedError(), "The actor died unexpectedly", True),
        (RayError("lost"), "lost", True),
        # As Ray Train hands it on.
        (KeyError("k"), "KeyError: 'k'", False),
        (OSError(errno.ENOSPC, "No space left"), "[Errno 28] No space left", True),
        (WorkerHealthCheckFailedError("gone", ActorDiedError()), "gone The actor died", True),
        (UserExceptionWithTraceback(KeyError("k"), "Traceback ..."), "KeyError: 'k'", False),
    ],
    ids=repr,
)
def test_what_the_machine_did_is_told_from_what_the_training_raised(error, said, outside):
    # As Ray Tune hands it on.
    why = failures.reason_of(cloudpickle.loads(cloudpickle.dumps(error)))
    assert said in why.error and "\n" not in why.error
    assert why.outside == outside


def test_what_ray_itself_ended_is_no_finding_about_a_training():
    why = failures.reason_by_ray("Task was killed:\n low memory")
    assert (why.error, why.outside) == ("Task was killed: low memory", True)


def test_the_same_error_in_two_runs_lasts(ledger, fail, cell):
    first = fail(BOOM)
    assert (first.attempts, first.lasting) == (1, False) and not failures.lasting(ledger.root)
    again = fail(FailureReason("ValueError: boom 23", "", outside=False))
    assert (again.attempts, again.lasting) == (2, True)
    assert failures.lasting(ledger.root) == {cell.key}
    assert failures.recorded(ledger.root) == {cell.key: again}
    other = fail(FailureReason("ValueError: bang", "", outside=False))
    assert (other.attempts, other.lasting) == (1, False)


def test_interruptions_never_last(ledger, fail):
    for _ in range(5):
        assert not fail(KILLED).lasting
    assert not fail(BOOM).lasting
    fail(KILLED)
    assert not fail(BOOM).lasting
    assert fail(BOOM).lasting


def test_a_result_ends_its_failure(ledger, fail, cell):
    failure = fail(BOOM)
    assert (ledger.root / failure.log).read_text().startswith("Traceback")
    made_up.write_transfers(ledger, [cell])
    assert failures.recorded(ledger.root) == {}
    failures.forget_mended(ledger.root)
    assert not list(ledger.root.glob("failures/*")) + list(ledger.root.glob("logs/failed/*"))


def test_records_that_cannot_be_read_or_written_stop_nothing(ledger, fail):
    fail(BOOM)
    (record,) = (ledger.root / "failures").iterdir()
    record.write_text("{")
    assert failures.recorded(ledger.root) == {}
    record.unlink()
    record.parent.rmdir()
    record.parent.write_text("not a folder")
    assert fail(BOOM).attempts == 1


def chain_keys(study, ledger, given_up):
    return {
        key(spec)
        for c in chains.unfinished(worklist(study, ledger), given_up)
        for spec in c.results
    }


def test_what_waits_for_a_failure_is_beyond_reach_and_nothing_else(study, ledger):
    tickets = {(c.pruning, c.level): c.key for c in grid.tickets(study)}
    (theta,) = (c.key for c in grid.thetas(study))
    assert chains.beyond_reach(worklist(study, ledger), set()) == set()
    assert chains.beyond_reach(worklist(study, ledger), {theta}) == grid.expand(study).keys
    assert chain_keys(study, ledger, {theta}) == set()

    for cell in grid.thetas(study):
        ledger.write(cell.theta, {}, {})
    ledger.write(next(c for c in grid.tickets(study) if c.level == 1).ticket, {}, {})
    given_up = {tickets["imp", 2]}
    lost = chains.beyond_reach(worklist(study, ledger), given_up)
    deep = {c.key for c in grid.transfers(study) if c.ticket_cell.level > 1}
    assert lost == deep | {tickets["imp", 2], tickets["imp", 3]}
    assert chain_keys(study, ledger, given_up) == {
        theta,
        *(c.key for c in grid.tickets(study) if c.pruning == "random"),
    }
    assert tickets["imp", 2] in chain_keys(study, ledger, set())


def test_without_its_surrogate_a_checked_transfer_is_beyond_reach(study, ledger):
    attack = {"kind": "pgd", "epsilon": 0.1, "alpha": 0.1}
    train = {"recipe": {"epochs": 1, "lr": 0.1}}
    check = {"kind": "transfer_attack", "attack": attack, "model": {"arch": "resnet8"}}
    chosen = ChosenCheck(check={**check, "train": train}, only={"levels": [1]})
    task = study.downstream[0].model_copy(update={"checks": (chosen,)})
    checked = study.model_copy(update={"downstream": (task,)})
    work = worklist(checked, ledger)
    surrogate, waiting = (
        {
            n
            for n, cell in work.grid.thetas.items()
            if cell.pretraining not in study.source.pretrainings
        },
        {n for n, cell in work.grid.transfers.items() if cell.transfer.checks},
    )
    assert len(surrogate) == 1 and waiting
    assert surrogate < chain_keys(checked, ledger, set())
    assert chains.beyond_reach(work, surrogate) == surrogate | waiting


def test_another_study_s_failures_are_none_of_this_one_s(study, ledger, fail, cell):
    fail(BOOM)
    fail(BOOM)
    task = study.downstream[0].model_copy(update={"seeds": (7,)})
    other = study.model_copy(update={"downstream": (task,)})
    lasting = failures.lasting(ledger.root)
    assert lasting == {cell.key}
    assert chains.beyond_reach(worklist(study, ledger), lasting) == lasting
    assert chains.beyond_reach(worklist(other, ledger), lasting) == set()
    assert failures.of_runs(grid.expand(other).keys, ledger.root) == []
    assert failures.of_runs(grid.expand(study).keys, ledger.root) == failures.of_study(
        grid.expand(study).keys, study.name, ledger.root
    )


def test_what_is_given_up_is_not_handed_out(study, ledger, cell):
    whole, less = worklist(study, ledger).queue, worklist(study, ledger).refreshed({cell.key}).queue
    assert whole.left == 20 and less.left == 19
    handed = []
    while job := less.next():
        handed.append(job)
        less.ended(job, None)
    assert less.over and len(handed) == 19 and cell.key not in handed


def test_a_search_is_told_of_what_is_given_up(study, ledger):
    task = study.downstream[0].model_dump() | {"levels": "adaptive"}
    searched = study.model_validate(study.model_dump() | {"downstream": [task]})
    first = worklist(searched, ledger).queue.next()
    other = worklist(searched, ledger).refreshed({first}).queue
    handed = set()
    while job := other.next():
        handed.add(job)
        other.ended(job, None)
    assert first not in handed and other.over


def test_status_names_what_failed_why_and_where(study, fail, tmp_path, monkeypatch, tuner, cell):
    fail(BOOM)
    failure = fail(BOOM)
    write(study, tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, _ = tuner("status", "made-up.yaml")
    assert code == 0
    lines = out.splitlines()
    place = lines.index("1 failed:")
    assert lines[place + 1] == (
        f"  transfer {failure.name}: ValueError: boom 17 "
        f"(in 2 runs, last {failure.when}; results/logs/failed/{cell.key}.txt)"
    )
    assert lines[place + 2].endswith("python -m tuner run made-up.yaml --retry-failed")


def test_mlflow_shows_a_failure_until_there_is_a_result(
    study, ledger, fail, cell, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    monkeypatch.chdir(tmp_path)
    failure = fail(BOOM)
    made_up.write_source(study, ledger)

    def opened():
        tracker = opening.open_tracker(backend.connect(), worklist(study, ledger), "made-up")
        tracker.catch_up()
        return tracker

    def shown(tracker):
        runs = tracker.client.search_runs([tracker.experiment], "tags.stage != 'study'")
        return {run.info.run_id: run for run in runs if run.data.tags["key"] == cell.key}

    ((run_id, run),) = shown(opened()).items()
    assert run.info.status == "FAILED" and run.info.run_name == failure.name
    assert run.data.tags["reason"] == BOOM.error
    assert run.data.tags["log"].endswith(f"logs/failed/{cell.key}.txt")
    assert run.data.params["dataset"] == "digits"
    assert shown(opened()).keys() == {run_id}, "written once"

    made_up.write_transfers(ledger, [cell])
    tracker = opened()
    ((_, run),) = shown(tracker).items()
    assert run.info.status == "FINISHED" and run.data.metrics["SA"] > 0
    known = {entry.key for entry in entries(grid.expand(study)).values() if ledger.has(entry.spec)}
    assert tracker.runs.keys() == known and tracker.failed == {}


def test_a_process_that_died_of_a_signal_is_reported_as_that():
    """Ray 2's own words for a worker that a SIGSEGV ended."""
    text = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\n"
        "\tactor_id: 8d0c\n\tpid: 4711\nThe actor is dead because its worker process has died. "
        "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
        "connection error code 2. End of file. There are some potential root causes. (1) The "
        "process is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop --force "
        "is called. (3) The worker is crashed unexpectedly due to SIGSEGV."
    )
    reason = failures.reason_by_ray(text)
    assert reason.outside and "signal" in reason.error and "\n" not in reason.error
    assert reason.trace == text
    assert "signal" not in failures.reason_by_ray("The node of the actor has died.").error
