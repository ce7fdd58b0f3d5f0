"""Contenders in turns, ratios within a round."""

import pytest

from trainables.bench.interleaving import LEAST_ROUNDS, Quartiles, interleave, quartiles, ratios


class Machine:
    """A clock that contenders move on by working, and what they did."""

    def __init__(self):
        self.now, self.log = 0.0, ""

    def contender(self, name, seconds, number):
        def work():
            self.now += seconds
            self.log += name
            return number

        return work

    def clock(self):
        return self.now


def test_contenders_take_turns_and_the_first_round_is_not_counted():
    machine = Machine()
    contenders = {name: machine.contender(name, 1.0, i) for i, name in enumerate("abc")}
    measured = interleave(contenders, seconds=13, clock=machine.clock)
    assert machine.log == "abc" * 6
    assert measured == {"a": [0] * 5, "b": [1] * 5, "c": [2] * 5}


def test_there_are_a_few_rounds_however_long_they_take():
    machine = Machine()
    measured = interleave({"a": machine.contender("a", 100.0, 1)}, 1.0, machine.clock)
    assert measured["a"] == [1] * LEAST_ROUNDS


def test_a_drift_that_all_share_is_not_in_the_ratios():
    """Twice as fast in every round, while the machine slows down to a tenth."""
    speeds = iter([1.0, 1.0, *(s for s in (1.0, 0.5, 0.1) for _ in range(2))])
    measured = interleave({"a": lambda: 2 * next(speeds), "b": lambda: next(speeds)}, 0)
    assert measured == {"a": [2.0, 1.0, 0.2], "b": [1.0, 0.5, 0.1]}
    assert quartiles(ratios(measured["a"], measured["b"])) == Quartiles(2, 2, 2)


def test_ratios_are_paired_and_complete():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0, 2.0], [1.0])


def test_median_and_quartiles_by_hand():
    assert quartiles([5, 1, 3, 2, 4]) == Quartiles(3, 2, 4)
    assert quartiles([1, 2, 3, 4]) == Quartiles(2.5, 1.75, 3.25)
    assert quartiles([7]) == Quartiles(7, 7, 7)
