"""Finding tickets: iterative magnitude pruning, and one-shot and random pruning beside it."""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from search_spaces.levels import kept
from search_spaces.spec import Pruning
from trainables.pruning.masks import Mask, State, counts, prune_by_magnitude, random, rewind
from trainables.runtime.seeding import generator

Retrain = Callable[[State, Mask, int], Mapping[str, Tensor]]
"""(rewound weights, mask, level) -> weights after re-training on the source."""


def imp(
    theta: Mapping[str, Tensor],
    dense: Mask,
    pruning: Pruning,
    rounds: int,
    retrain: Retrain,
    resumed: tuple[int, Mask] | None = None,
    agreed: Callable[[Mask], Mask] = lambda mask: mask,
) -> Iterator[tuple[int, Mask]]:
    """Iterative magnitude pruning with rewinding to theta, yielding (level, mask) round by round.

    Each round prunes `pruning.rate` of the remaining weights globally by magnitude, rewinds the
    rest to theta and re-trains them on the source; the next round prunes by those magnitudes. The
    first round prunes theta itself, and the last round's weights, which nothing reads, are not
    re-trained. `resumed` is the last ticket of an earlier, interrupted run: a mask is all that the
    next round needs, so the rounds after it come out as if there had been no interruption.
    `agreed`: what several processes that do this together make of each one's mask, before any of
    them goes on with it.

    Source: Chen et al., ICML 2022, section 3; the order prune, rewind, train is that of the
    authors' published scripts.
    """
    level, mask = resumed or (0, dense)
    total = counts(dense)[1]
    while level < rounds:
        weights = theta if level == 0 else retrain(rewind(theta, mask), mask, level)
        level += 1
        mask = agreed(prune_by_magnitude(weights, mask, kept(total, level, pruning.rate)))
        yield level, mask


def one_shot(theta: Mapping[str, Tensor], dense: Mask, pruning: Pruning, level: int) -> Mask:
    """theta's largest weights, at a level's density, without any re-training."""
    return prune_by_magnitude(theta, dense, kept(counts(dense)[1], level, pruning.rate))


def at_random(dense: Mask, pruning: Pruning, level: int) -> Mask:
    """Uniformly drawn weights, at a level's density; the draw depends on seed and level alone."""
    keep = kept(counts(dense)[1], level, pruning.rate)
    return random(dense, keep, generator(pruning.seed, "random-pruning", level))
