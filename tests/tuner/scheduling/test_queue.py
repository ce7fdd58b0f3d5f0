"""The schedule: every job once, whatever ends when; searches wait, fixed jobs fill."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.scheduling.adaptive import Cell, Result
from tuner.scheduling.queue import Queue, ScheduledSearch

SCORED = Result({"SA": 0.9, "RA": 0.5})


class Batches:
    """A search that asks for given batches of cells, and remembers what it is told and when."""

    def __init__(self, *batches):
        self._batches = deque(batches)
        self.asked, self.told, self.early = set(), {}, 0

    def ask(self):
        self.early += self.asked != set(self.told)
        batch = self._batches.popleft() if self._batches else []
        self.asked.update(batch)
        return batch

    def tell(self, cell, result):
        assert cell in self.asked and cell not in self.told
        self.told[cell] = result


def cells(*seeds, level=1):
    return [Cell(level, "standard", seed) for seed in seeds]


def search(*batches, job=lambda cell: cell):
    return ScheduledSearch(Batches(*batches), job)


def drain(schedule, random, slots=3, result=lambda job: SCORED):
    """Runs a schedule on a few slots whose jobs end in any order; gives jobs as handed out."""
    running, seen = [], []
    while not schedule.over:
        while len(running) < slots and (job := schedule.next()) is not None:
            running.append(job)
            seen.append(job)
        assert running, "nothing runs, and nothing is handed out: it would wait for ever"
        job = running.pop(random.randrange(len(running)))
        schedule.ended(job, result(job))
    assert schedule.next() is None and schedule.left == 0 and not running
    return seen


batches = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True), max_size=5)


def fresh_only(numbers):
    """Batches of cells that none of those before has."""
    seen, found = set(), []
    for batch in numbers:
        new = [n for n in batch if n not in seen]
        seen.update(new)
        found.append(cells(*new))
    return [batch for batch in found if batch]


@given(
    st.lists(st.integers(100, 120)),
    st.lists(batches, max_size=4),
    st.sets(st.integers(0, 12)),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_every_job_is_handed_out_once_whatever_ends_first(fixed, plans, known, slots, random):
    """Searches share their jobs; some are known, every fourth fails."""

    def outcome(job):
        return None if job % 4 == 0 else SCORED

    searches = [search(*fresh_only(plan), job=lambda cell: cell.seed) for plan in plans]
    schedule = Queue(fixed, searches, lambda job: SCORED if job in known else None)
    seen = drain(schedule, random, slots, outcome)
    wanted = {n for plan in plans for batch in plan for n in batch} - known
    assert sorted(seen) == sorted(wanted | set(fixed))
    for one, plan in zip(searches, plans, strict=True):
        told = {cell.seed: result for cell, result in one.search.told.items()}
        assert told == {n: SCORED if n in known else outcome(n) for batch in plan for n in batch}
        assert not one.search.early, "asked before all of the batch was told"
        assert sorted(one.jobs) == sorted(told)


def test_searches_come_first_and_fixed_jobs_fill_the_gaps():
    one = search(cells(0, 1), cells(2))
    schedule = Queue(["a", "b"], [one])
    assert [schedule.next() for _ in range(3)] == [*cells(0, 1), "a"]
    schedule.ended(cells(0)[0], SCORED)
    assert schedule.next() == "b"  # the batch is not complete
    schedule.ended(cells(1)[0], SCORED)
    assert schedule.next() == cells(2)[0]
    assert schedule.next() is None and not schedule.over


def test_what_is_not_ready_waits_and_holds_up_nothing_else():
    one = search(cells(0, 1), cells(2))
    schedule = Queue(["a", "b"], [one])
    ready = {cells(1)[0], "b"}
    assert schedule.next(ready.__contains__) == cells(1)[0]
    assert schedule.next(ready.__contains__) == "b"
    assert schedule.next(ready.__contains__) is None and not schedule.over
    schedule.ended(cells(1)[0], SCORED)
    schedule.ended("b", SCORED)
    assert schedule.left == 2
    assert [schedule.next() for _ in range(3)] == [cells(0)[0], "a", None]
    schedule.ended(cells(0)[0], SCORED)
    assert schedule.next() == cells(2)[0]


def test_what_is_left_counts_what_is_known_so_far():
    schedule = Queue(["a"], [search(cells(0, 1), cells(2))])
    assert schedule.left == 3
    schedule.next(), schedule.next()
    assert schedule.left == 3
    schedule.ended(cells(0)[0], SCORED)
    assert schedule.left == 2
    schedule.ended(cells(1)[0], SCORED)
    assert schedule.left == 2  # the next batch of one, and the fixed job


def test_a_shared_job_is_trained_once_and_told_to_all():
    first, second = search(cells(0)), search(cells(0), cells(3))
    schedule = Queue([], [first, second])
    job = schedule.next()
    assert schedule.next() is None and schedule.left == 1
    schedule.ended(job, SCORED)
    assert first.search.told == {job: SCORED} and second.search.told == {job: SCORED}
    assert schedule.next() == cells(3)[0]


def test_a_later_search_is_told_of_what_failed():
    first, second = search(cells(0), cells(1)), search(cells(5), cells(0))
    schedule = Queue([], [first, second])
    zero, five = schedule.next(), schedule.next()
    schedule.ended(zero, None)
    schedule.ended(five, SCORED)
    assert second.search.told[zero] is None
    assert schedule.next() == cells(1)[0] and schedule.next() is None


def test_known_jobs_take_a_search_to_where_it_was():
    one = search(cells(0, 1), cells(2), cells(3))
    schedule = Queue([], [one], lambda job: SCORED if job.seed < 3 else None)
    assert one.jobs and schedule.left == 1
    assert schedule.next() == cells(3)[0]


def test_a_fixed_job_that_a_search_wants_is_trained_once():
    job = cells(0)[0]
    schedule = Queue([job, "a"], [search([job])])
    assert schedule.next() == job and schedule.next() == "a" and schedule.next() is None


def test_all_known_is_over_at_once():
    schedule = Queue([], [search(cells(0), cells(1))], lambda job: SCORED)
    assert schedule.over and schedule.next() is None and schedule.left == 0
    assert Queue([]).over


def test_a_job_that_was_not_handed_out_cannot_end():
    with pytest.raises(KeyError):
        Queue(["a"]).ended("b", SCORED)
