"""How the transfer stage hands a queue's jobs to Ray Tune."""

import math

from tuner.scheduling.queue import Queue
from tuner.stages import transfer
from tuner.stages.transfer import QueueSearcher


def searcher(
    queue,
    fault=lambda: None,
    ready=lambda job: True,
    room=lambda: math.inf,
    config=lambda job: {"key": job},
):
    return QueueSearcher(queue, config, ready, room, fault)


def test_a_chunk_is_taken_and_says_if_another_is_to_follow(monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 2)
    queue = Queue("abc")
    first, second = searcher(queue), searcher(queue)
    assert [first.suggest(trial) for trial in "123"] == [{"key": "a"}, {"key": "b"}, "FINISHED"]
    first.on_trial_complete("1")
    first.on_trial_complete("2")
    assert first.continues
    assert [second.suggest(trial) for trial in "12"] == [{"key": "c"}, None]
    second.on_trial_complete("1")
    assert queue.over
    assert not second.continues


def test_no_more_is_handed_out_where_the_storage_takes_nothing():
    faults = iter([None, "No space left on device", None])
    stage = searcher(Queue("abcd"), lambda: next(faults))
    assert [stage.suggest(trial) for trial in "123"] == [{"key": job} for job in "abc"]
    stage.on_trial_complete("1", error=True)  # an accident: the storage takes what it is given
    assert stage.suggest("4") == {"key": "d"}
    stage.on_trial_complete("2", error=True)
    assert stage.suggest("5") == "FINISHED"
    stage.on_trial_complete("3")
    stage.on_trial_complete("4", error=True)
    assert stage.suggest("6") == "FINISHED"


def test_a_job_waits_for_its_ticket_and_for_room_beside_the_chains():
    made, room = {"b"}, 1
    stage = searcher(Queue("abc"), ready=lambda job: job in made, room=lambda: room)
    assert [stage.suggest(trial) for trial in "12"] == [{"key": "b"}, None]
    made |= {"a", "c"}
    assert stage.suggest("2") is None
    stage.on_trial_complete("1")
    assert stage.suggest("2") == {"key": "a"}


def crowd():
    """A stage at work with two processes when the chains end: a trial is handed out for a third
    process."""
    rooms = iter([2, 2, 2])
    stage = searcher(Queue("abcdefgh"), room=lambda: next(rooms, math.inf))
    for trial in "12":
        stage.suggest(trial)
        stage.on_trial_result(trial, {})
    assert stage.suggest("3") == {"key": "c"} and stage.suggest("4") is None
    return stage


def test_room_that_grows_is_filled_beside_trials_that_last():
    stage = crowd()
    stage.on_trial_complete("1")  # its process takes the third trial; another is started
    assert stage.suggest("4") == {"key": "d"}
    stage.on_trial_result("3", {})
    stage.on_trial_result("4", {})  # the third process is up
    for trial in "5678":
        assert stage.suggest(trial) == {"key": chr(ord("a") + int(trial) - 1)}
    for trial in "2345678":
        stage.on_trial_complete(trial)
    assert stage.suggest("9") == "FINISHED" and not stage.continues


def test_trials_that_end_before_a_process_is_up_all_start_anew():
    stage = crowd()
    for ended, begun in ("14", "25"):
        stage.on_trial_complete(ended)
        assert stage.suggest(begun) == {"key": chr(ord("a") + int(begun) - 1)}
        stage.on_trial_result(str(int(begun) - 1), {})
    stage.on_trial_complete("3")
    assert stage.suggest("6") == "FINISHED"
    stage.on_trial_complete("4")
    stage.on_trial_complete("5")
    assert stage.continues


def test_what_has_less_room_than_before_ends_for_the_chains_to_have_it():
    room = 2
    queue = Queue("abc")
    stage = searcher(queue, room=lambda: room)
    assert [stage.suggest(trial) for trial in "123"] == [{"key": "a"}, {"key": "b"}, None]
    stage.on_trial_complete("1")
    room = 1  # a node is lost
    assert stage.suggest("3") == "FINISHED"
    room = 2
    stage.on_trial_complete("2")
    assert stage.suggest("3") == "FINISHED" and stage.continues
    assert searcher(queue).suggest("1") == {"key": "c"}


def test_a_job_whose_ticket_will_never_be_is_passed_over():
    stage = searcher(Queue("ab"), config=lambda job: None if job == "a" else {"key": job})
    assert stage.suggest("1") == {"key": "b"}
    stage.on_trial_complete("1")
    assert stage.suggest("2") == "FINISHED"
