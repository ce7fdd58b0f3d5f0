"""Training never waits for MLflow, and what MLflow has missed is written once."""

import threading
import time

import pytest
from mlflow.exceptions import MlflowException

from analysis.store.runs import UnreadableError, explained
from search_spaces import grid
from search_spaces.errors import InputError
from tests.support import made_up
from tests.support.mlflow_store import empty_store
from trainables.store.ledger import open_ledger
from tuner.scheduling.worklist import worklist
from tuner.storage.entries import transfer_entry
from tuner.tracking import backend, opening, window
from tuner.tracking import tracker as tracking
from tuner.tracking.window import Window


class Door:
    """An MLflow client that can be shut (every call fails) or stuck (no call returns)."""

    def __init__(self, client):
        self._client = client
        self.shut, self.free = False, threading.Event()
        self.free.set()

    def __getattr__(self, name):
        def call(*arguments, **named):
            self.free.wait()
            if self.shut:
                raise MlflowException("API request failed: Connection refused")
            return getattr(self._client, name)(*arguments, **named)

        return call


@pytest.fixture(scope="module")
def study():
    return made_up.study()


@pytest.fixture
def ledger(study, tmp_path):
    ledger = open_ledger(tmp_path / "results")
    made_up.write_source(study, ledger)
    return ledger


@pytest.fixture
def door(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    monkeypatch.chdir(tmp_path)
    door = Door(backend.connect())

    def connect():
        door.search_experiments(max_results=1)
        return door

    monkeypatch.setattr(backend, "connect", connect)
    return door


def runs(door):
    """The names of all child runs that are FINISHED, with repetitions."""
    number = door._client.get_experiment_by_name("made-up").experiment_id
    found = door._client.search_runs([number], "tags.stage != 'study'")
    assert {run.info.status for run in found} <= {"FINISHED"}
    return sorted(run.data.tags["key"] for run in found)


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finish(study, ledger, shown, count):
    """The next transfers end, and are shown."""
    left = [cell for cell in grid.transfers(study) if not ledger.has(cell.transfer)][:count]
    made_up.write_transfers(ledger, left)
    for cell in left:
        shown.show(transfer_entry(cell))


def everything(study, ledger):
    done = ledger.all_keys() & grid.expand(study).keys
    return sorted(done)


def test_what_is_shown_is_written(study, ledger, door):
    said = []
    shown = Window(worklist(study, ledger), said.append, "made-up")
    shown.catch_up()
    finish(study, ledger, shown, 3)
    assert shown.finish(lambda tracker: len(tracker.runs)) == 1 + 5 + 3
    assert runs(door) == everything(study, ledger) and said == []


def test_an_outage_is_said_once_and_made_up_for(study, ledger, door, monkeypatch):
    monkeypatch.setattr(window, "PAUSE", 0.05)
    said = []
    shown = Window(worklist(study, ledger), said.append, "made-up")
    shown.catch_up()
    finish(study, ledger, shown, 3)
    until(lambda: shown.written == 9)
    door.shut = True
    for _ in range(5):
        finish(study, ledger, shown, 1)
        time.sleep(0.1)
    until(lambda: said)
    assert len(runs(door)) == 9
    door.shut = False
    finish(study, ledger, shown, 2)
    assert shown.finish(lambda tracker: "told") == "told"
    assert len(said) == 1 and "Connection refused" in said[0]
    assert runs(door) == everything(study, ledger)


def test_one_that_stays_away_is_left_to_a_sync(study, ledger, door):
    said = []
    shown = Window(worklist(study, ledger), said.append, "made-up")
    shown.catch_up()
    until(lambda: shown.written == 6)
    door.shut = True
    finish(study, ledger, shown, 4)
    assert shown.finish(lambda tracker: "told") is None
    assert len(said) == 1 and len(runs(door)) == 6
    door.shut = False
    opening.open_tracker(door, worklist(study, ledger), "made-up").catch_up()
    assert runs(door) == everything(study, ledger)


def test_a_stuck_server_holds_nothing_up(study, ledger, door, monkeypatch):
    monkeypatch.setattr(window, "PATIENCE", 0.3)
    said = []
    shown = Window(worklist(study, ledger), said.append, "made-up")
    door.free.clear()
    started = time.monotonic()
    shown.catch_up()
    finish(study, ledger, shown, 3)
    assert time.monotonic() - started < window.PAUSE / 2
    assert shown.finish(lambda tracker: pytest.fail("it is stuck")) is None
    assert said == ["MLflow: is too slow: what it misses is written later; all else goes on"]
    door.free.set()
    until(lambda: all(thread.name != "mlflow" for thread in threading.enumerate()))


def test_answers_that_are_lost_leave_no_second_run(study, ledger, door, monkeypatch):
    """The server does what it is asked, and its answers do not arrive: once for a run's making,
    once for its end."""
    monkeypatch.setattr(window, "PAUSE", 0.0)
    lost = {"create_run", "set_terminated"}
    real = Door.__getattr__

    def losing(self, name):
        call = real(self, name)
        if name not in lost:
            return call

        def once(*arguments, **named):
            call(*arguments, **named)
            lost.discard(name)
            raise MlflowException("API request failed: timed out")

        return once

    said = []
    shown = Window(worklist(study, ledger), said.append, "made-up")
    monkeypatch.setattr(Door, "__getattr__", losing)
    shown.catch_up()
    finish(study, ledger, shown, 4)
    assert shown.finish(lambda tracker: "told") == "told"
    assert lost == set() and len(said) == 1
    assert runs(door) == everything(study, ledger)


def test_a_bug_is_raised_where_it_is_seen(study, ledger, door, monkeypatch):
    shown = Window(worklist(study, ledger), lambda line: None, "made-up")
    monkeypatch.setattr(tracking.Tracker, "show", lambda *_: 1 / 0)
    finish(study, ledger, shown, 1)
    with pytest.raises(ZeroDivisionError):
        shown.finish(lambda tracker: "told")


def parents(door):
    """The status of the study's own run, if there is one."""
    number = door._client.get_experiment_by_name("made-up").experiment_id
    return [run.info.status for run in door._client.search_runs([number], "tags.stage = 'study'")]


def test_a_run_that_is_refused_is_not_left_running(study, ledger, door):
    shown = Window(worklist(study, ledger), pytest.fail, "made-up")
    assert parents(door) == ["RUNNING"]
    shown.abandon()
    assert parents(door) == ["KILLED"]
    shown = Window(worklist(study, ledger), pytest.fail, "made-up")
    assert shown.finish(lambda tracker: tracker.end() or True) and parents(door) == ["FINISHED"]
    Window(worklist(study, ledger), pytest.fail, "made-up").abandon()
    assert parents(door) == ["FINISHED"]


def test_a_run_that_is_interrupted_is_killed_and_the_next_opens_it_again(study, ledger, door):
    shown = Window(worklist(study, ledger), pytest.fail, "made-up")
    shown.catch_up()
    finish(study, ledger, shown, 2)
    until(lambda: shown.written == 8)
    shown.interrupted()
    assert parents(door) == ["KILLED"]
    finish(study, ledger, shown, 1)  # What comes in still is not written any more.
    assert len(runs(door)) == 8
    again = Window(worklist(study, ledger), pytest.fail, "made-up")
    assert parents(door) == ["RUNNING"]
    again.interrupted()
    assert parents(door) == ["KILLED"]
    again = Window(worklist(study, ledger), pytest.fail, "made-up")
    assert again.finish(lambda tracker: tracker.end() or True) and parents(door) == ["FINISHED"]
    assert runs(door) == everything(study, ledger)


def test_an_interruption_asks_nothing_of_one_that_does_not_answer(study, ledger, door):
    shown = Window(worklist(study, ledger), lambda line: None, "made-up")
    door.shut = True
    shown.interrupted()
    door.shut = False
    assert parents(door) == ["RUNNING"]


def test_one_that_is_away_is_no_reason_to_refuse_where_there_is_nothing_to_do(study, ledger, door):
    door.shut = True
    with pytest.raises(InputError), explained("sqlite:///mlflow.db"):
        Window(worklist(study, ledger), pytest.fail, "made-up")
    said = []

    def away():
        raise UnreadableError("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "connect", away)
        shown = Window(worklist(study, ledger), said.append, "made-up", needed=False)
        shown.catch_up()
        assert shown.finish(lambda tracker: pytest.fail("it is away")) is None
    assert len(said) == 1
