"""Trainings at work say which epoch they are in, and nothing waits for that."""

import os

import pytest

from search_spaces.regimes import Recipe, Regime
from trainables.store import epochs
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.training.loop import fit

LAST = 3


def training(net, stripes, evaluation):
    """Starts a training of three epochs."""
    how = Regime(recipe=Recipe(epochs=LAST, batch_size=32, lr=0.05))
    return lambda resume: fit(net, stripes, how, 0, evaluation, resume=resume)


def at_work(folder):
    return [tuple(each) for each in epochs.at_work(folder)]


def test_a_training_is_in_one_epoch_after_the_other(tmp_path, net, stripes, evaluation):
    checkpoint = TrainingCheckpoint(tmp_path / "key.progress")
    seen = [at_work(tmp_path) for _ in checkpoint.epochs(training(net, stripes, evaluation), LAST)]
    assert seen == [[("key", 2, LAST)], [("key", LAST, LAST)], [("key", LAST, LAST)]]
    assert at_work(tmp_path) == []


def test_one_that_is_given_up_is_not_at_work(tmp_path, net, stripes, evaluation):
    checkpoint = TrainingCheckpoint(tmp_path / "key.progress", seconds=0.0)
    begun = checkpoint.epochs(training(net, stripes, evaluation), LAST)
    next(begun)
    next(begun)
    begun.close()
    assert at_work(tmp_path) == []
    seen = [at_work(tmp_path) for _ in checkpoint.epochs(training(net, stripes, evaluation), LAST)]
    assert seen == [[("key", 3, LAST)], [("key", LAST, LAST)]]


def test_only_the_first_of_several_processes_says_it(tmp_path, net, stripes, evaluation):
    checkpoint = TrainingCheckpoint(tmp_path / "key.progress", writes=False)
    assert not any(
        at_work(tmp_path) for _ in checkpoint.epochs(training(net, stripes, evaluation), LAST)
    )


def test_the_last_that_changed_is_first_and_what_says_nothing_is_passed_over(tmp_path):
    for time, name in enumerate(("b", "c", "a"), start=1):
        path = tmp_path / f"{name}{epochs.SUFFIX}"
        epochs.tell(path, time, 9)
        os.utime(path, (time, time))
    (tmp_path / f"half{epochs.SUFFIX}").write_text("4")
    (tmp_path / "d.progress").write_text("4/9")
    assert at_work(tmp_path) == [("a", 3, 9), ("c", 2, 9), ("b", 1, 9)]


@pytest.mark.parametrize("act", [lambda path: epochs.tell(path, 1, 2), epochs.withdraw])
def test_a_folder_that_is_not_there_is_nobody_s_trouble(tmp_path, act):
    act(tmp_path / "gone" / "key.epoch")
    assert epochs.at_work(tmp_path / "gone") == []
    assert list(tmp_path.iterdir()) == []
