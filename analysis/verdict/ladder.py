"""What may be said of a ladder of levels, so that all of it together is seldom wrong.

Each level by itself is compared with the dense network; on a ladder of fourteen, some level is then
wrongly said to match more often than in 5 % of studies. Only statements about the extreme level are
wanted, so few of the levels need to be asked:

- From the sparse end, levels shown to fail are passed over. The first that is not, the front, is
  the one that can be the extreme level. It is asked at a part of the error rate. Passing on costs
  next to nothing: a level that does not match is either shown to fail, or it is the front and ends
  the search, and one that is likely to be shown to fail is unlikely to seem to match.
- From the dense end, levels are asked in turn at the rest of the error rate, ending at the first
  that is neither shown to match nor to fail (a fixed sequence, Maurer et al. 1995): what is shown
  of an open ladder. Where the sequence arrives at the front, the front is asked at the full rate.

Levels that were not tested are not asked, and nothing is said of them; no more are those that a
search has only probed, but where they are the front. A level that lacks a metric is asked and
cannot match. Whether all levels fall in order does not matter (robust accuracy may rise before it
falls).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.verdict.inference import Bools, Floats

FRONT = 0.8
"""The front's share of the error rate; the sequence has the rest."""
FRONT_OF_SEARCH = 0.5
"""The same in a search: its sequence is short, since most levels are only probed."""


def shown(asked: Bools, probed: Bools, full: Bools, at_front: Bools, in_sequence: Bools) -> Bools:
    """(L,): which levels are shown to match; never dense, row 0.

    asked (L,): is a level tested, and not shown to fail; probed (L,): does the sequence pass it
    over; full, at_front, in_sequence (L,): does a level by itself match at the whole error rate, at
    the front's share and at the sequence's?
    """
    rows = [int(row) for row in np.flatnonzero(asked) if row]
    matched = np.zeros_like(asked)
    arrived = True
    for row in rows:
        if row == rows[-1]:
            matched[row] = full[row] if arrived else at_front[row]
        elif not probed[row]:
            arrived = arrived and bool(in_sequence[row])
            matched[row] = arrived
    return matched


_TO_MATCH = np.array([0.02, 0.06, 0.52, 0.33, 0.17])
"""The error rate of each look by itself, as part of the whole, so that looks at one level's growing
seeds spend as said (information in the ratio 1, 3, 6, 12, 24; the looks after them 0.05, 0.025...,
which is less than what is left)."""


@dataclass(frozen=True)
class Looks:
    """How a search for the extreme level spends its error rate: it looks, and goes on if nothing is
    settled, so that a level is asked several times. first: seeds the dense network begins with.

    A level is looked at with fewer seeds than dense began with, with as many, and after each
    doubling of that. A loss is to be seen with a seed or two, so that the search can pass on: half
    of the error rate is spent on the first look, then half of what is left. A match is claimed of
    one level with many seeds, when the errors are known well enough: 2, 8, 58, 82, 94, ... % of the
    error rate are spent by then (Lan and DeMets 1983). The number of a look follows from the seeds,
    so those who search and those who read the scores afterwards say the same.
    """

    first: int

    @property
    def _first(self) -> int:
        return max(self.first, 2)

    def number(self, seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which look, from 0, a level with so many seeds is at."""
        doublings = np.ceil(np.log2(np.maximum(seeds, 1) / self._first))
        return np.where(seeds < self._first, 0, 1 + np.maximum(doublings, 0)).astype(np.int64)

    def probed(self, seeds: NDArray[np.int64]) -> Bools:
        """Has a level so few seeds that they only say where to search?"""
        return seeds < self._first

    def to_match(self, seeds: NDArray[np.int64]) -> Floats:
        """The error rate of saying at this look that a level matches, as part of the whole."""
        number = self.number(seeds)
        last = len(_TO_MATCH) - 1
        later = 0.05 * 0.5 ** (number - last - 1.0)
        share: Floats = np.where(number <= last, _TO_MATCH[np.minimum(number, last)], later)
        return share

    def to_fail(self, seeds: NDArray[np.int64]) -> Floats:
        """The error rate of saying at this look that a level fails, as part of the whole."""
        share: Floats = np.power(0.5, 1.0 + self.number(seeds))
        return share

    def next(self, seeds: int) -> int:
        """With how many seeds a level is looked at after this."""
        count = 2 * self._first
        while count <= seeds:
            count *= 2
        return count
