"""What further seeds would do to an open verdict: a chance, not a promise.

The true difference is as uncertain as the data leave it; further seeds move the estimate as much as
their share of the error, and narrow its bounds. The chance that the bounds then clear the margin
(assurance, O'Hagan et al. 2005) is averaged over where the estimate may go: one just above the
margin, which would need few seeds if it were the truth, does not promise that it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from analysis.verdict.inference import Bools, Floats
from analysis.verdict.ladder import FRONT, FRONT_OF_SEARCH, Looks
from analysis.verdict.noninferiority import Finding, bound_reach

CHANCE = 2 / 3
"""How likely seeds must settle a level before they are advised."""
MOST = 32
"""Further seeds of a level that somebody may still train."""


def chance_to_settle(
    finding: Finding, level: int, more: float, looks: Looks | None = None
) -> float:
    """The probability in [0, 1] that an open level is shown to match or to fail by `more` further
    seeds of it and of dense, by itself and at the front's error rate; `more` may be infinite. NaN
    where the errors are not known yet.

    A metric's estimate moves by Student's distribution with the seeds' variance that `more` takes
    away; metrics are taken to be independent, and seeds to bring a degree of freedom each.
    """
    of_images = finding.of_images[:, level]
    of_seeds = finding.error[:, level] ** 2 - of_images
    dense, own = np.maximum(finding.seeds[:, [0, level]], 1).T
    degrees = np.array([df or np.nan for df in finding.freedom])
    left = of_seeds * (1 / (dense + more) + 1 / (own + more)) / (1 / dense + 1 / own)
    moved = np.sqrt(np.maximum(of_seeds - left, 1e-300))
    front = FRONT_OF_SEARCH if looks else FRONT
    to_match = to_fail = 1 - finding.margin.confidence
    if looks and np.isfinite(more):
        count = np.array([own.max() + int(more)])
        to_match *= float(looks.to_match(count)[0])
        to_fail *= float(looks.to_fail(count)[0])
    distance = finding.value[:, level] + finding.margin.size

    def reach(allowed: float) -> Floats:
        students = stdtrit(np.minimum(degrees + more, 1e9), 1 - allowed)
        needed: Floats = np.sqrt(students**2 * left + ndtri(1 - allowed) ** 2 * of_images)
        return needed

    matches = stdtr(degrees, (distance - reach(front * to_match)) / moved)
    fails = stdtr(degrees, (-distance - reach(to_fail / len(distance))) / moved)
    return float(matches.prod() + 1 - (1 - fails).prod())


def seeds_to_settle(finding: Finding, level: int, looks: Looks | None = None) -> int | None:
    """The fewest further seeds, of this level and of dense, that settle an open level with a chance
    of CHANCE: at least 1, at most MOST; MOST + 1 if it takes more than that, None if no number
    does, because the test images leave too much doubt."""
    if np.isnan(finding.error[:, level]).any():
        return 1
    if chance_to_settle(finding, level, np.inf, looks) < CHANCE:
        return None
    chances = (chance_to_settle(finding, level, more, looks) for more in range(1, MOST + 1))
    return next((n for n, chance in enumerate(chances, 1) if chance >= CHANCE), MOST + 1)


def short_of_matching(finding: Finding, level: int, looks: Looks) -> Bools:
    """(M,): which metrics, as far as they are known now, would not let a search say at its next
    look that a level matches."""
    then = np.array([looks.next(int(finding.seeds[:, level].max()))])
    allowed = (1 - finding.margin.confidence) * FRONT_OF_SEARCH * looks.to_match(then)
    error, of_images = finding.error[:, [level]], finding.of_images[:, [level]]
    reach = bound_reach(error, of_images, finding.freedom, allowed)[:, 0]
    return ~(finding.value[:, level] + finding.margin.size > reach)


@dataclass(frozen=True)
class Replicate:
    """What more of would narrow the errors: a seed or a source seed; seconds: what one more of one
    level takes to train, NaN where that is not known."""

    name: str = "seed"
    seconds: float = np.nan


def settlement(ladder: Finding, sparsity: list[float], more: Replicate) -> tuple[str, str]:
    """(confirmed, refuted or undecided; what would settle it) of a finding; sparsity by row."""
    if not ladder.outcomes:
        return "undecided", "no pruned level is complete"
    if not all(ladder.freedom):
        return "undecided", f"one {more.name} shows no spread: add {more.name}s"
    if not ladder.open:
        if ladder.extreme == max(ladder.outcomes):
            return "confirmed", "the sparsest tested level; what is sparser is untested"
        if ladder.extreme:
            return "confirmed", "every sparser tested level fails"
        return "refuted", "every tested level fails"
    return "undecided", _advice(ladder, sparsity, more)


def _advice(ladder: Finding, sparsity: list[float], more: Replicate) -> str:
    """What would settle an open ladder, if anything can be named."""
    needs = {row: seeds_to_settle(ladder, row) for row in ladder.open if not ladder.clears[row]}
    row = min(needs, key=lambda row: abs(row - ladder.likely))
    others = len(needs) - 1
    name = f"{100 * sparsity[row]:.2f} %"
    levels = f"{name} and {others} other level{'s' * (others > 1)}" if others else name
    if None in needs.values():
        row = row if needs[row] is None else next(r for r, need in needs.items() if need is None)
        distance = 100 * np.nanmin(np.abs(ladder.value[:, row] + ladder.margin.size))
        where = f"{100 * sparsity[row]:.2f} %"
        return f"the test set is too small: {where} lies {distance:.1f} points from the margin"
    seeds = max(need for need in needs.values() if need is not None)
    if seeds > MOST:
        time = _training((MOST + 1) * (1 + len(needs)) * more.seconds)
        return f"not affordable: more than {MOST} further {more.name}s of dense and {levels}{time}"
    time = _training(seeds * (1 + len(needs)) * more.seconds)
    wanted = f"{seeds} more {more.name}{'s' * (seeds > 1)} of dense and {levels}{time}"
    return f"{wanted} would probably settle it"


def _training(seconds: float) -> str:
    """Training time in brackets; nothing where it is not known."""
    if not seconds > 0:
        return ""
    amount = f"{seconds / 3600:.0f} h" if seconds > 5400 else f"{max(seconds / 60, 1):.0f} min"
    return f" (about {amount} of training)"
