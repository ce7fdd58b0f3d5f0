"""Catastrophic overfitting: the decision on hand-made histories."""

import pytest

from search_spaces.spec import Containment
from trainables.overfitting import Signals, collapsed, must_stop

WATCH = Containment(fall=0.2, gap=0.2, patience=2)


def history(*pairs):
    return [Signals(fgsm=fgsm, pgd=pgd) for fgsm, pgd in pairs]


RISE = [(0.5, 0.3), (0.6, 0.5)]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (RISE, False),
        ([*RISE, (0.95, 0.05)], False),
        ([*RISE, (0.95, 0.05), (0.97, 0.0)], True),
        ([*RISE, (0.95, 0.05), (0.6, 0.5), (0.95, 0.05)], False),
        ([*RISE, (0.3, 0.2), (0.3, 0.2)], False),
        ([*RISE, (0.9, 0.45), (0.9, 0.4)], False),
        ([(0.9, 0.1), (0.95, 0.05), (0.99, 0.0)], False),
    ],
    ids=[
        "healthy",
        "one hit may pass",
        "two hits in a row",
        "a passing collapse",
        "both fall: no soaring FGSM",
        "a gap without a fall",
        "never was robust: nothing to fall from",
    ],
)
def test_decision(epochs, expected):
    assert collapsed(history(*epochs), WATCH) is expected


def test_an_empty_history_is_no_collapse():
    assert not collapsed([], WATCH)


def test_only_watched_trainings_stop():
    epochs = history(*RISE, (0.95, 0.05), (0.97, 0.0))
    assert must_stop(epochs, WATCH)
    assert not must_stop(epochs, None)
    assert not must_stop(epochs, Containment(on_collapse="continue"))
    assert not must_stop([None, None], WATCH)
