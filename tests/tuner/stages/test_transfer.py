"""How the transfer stage hands a queue's jobs to Ray Tune."""

from tuner.scheduling.queue import Queue
from tuner.stages import transfer
from tuner.stages.transfer import QueueSearcher


def searcher(queue, fault=lambda: None):
    return QueueSearcher(queue, lambda job: {"key": job}, fault)


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
