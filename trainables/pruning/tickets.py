"""Finding tickets: iterative magnitude pruning, and pruning at once by any criterion."""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from search_spaces.levels import density, kept
from search_spaces.prunings import Pruning
from trainables.pruning.criteria import Batches, Criterion, rounds
from trainables.pruning.masks import Mask, State, counts, in_pattern, keep, magnitudes, rewind
from trainables.runtime.seeding import generator

Retrain = Callable[[State, Mask, int], Mapping[str, Tensor]]
"""(rewound weights, mask, level) -> weights after re-training on the source."""


def imp(
    theta: Mapping[str, Tensor],
    dense: Mask,
    pruning: Pruning,
    last: int,
    retrain: Retrain,
    resumed: tuple[int, Mask] | None = None,
    agreed: Callable[[Mask], Mask] = lambda mask: mask,
) -> Iterator[tuple[int, Mask]]:
    """Iterative magnitude pruning with rewinding to theta, yielding (level, mask) round by round up
    to the `last`.

    Each round prunes `pruning.rate` of the remaining weights by magnitude, rewinds the rest to
    theta and re-trains them on the source; the next round prunes by those magnitudes. The first
    round prunes theta itself, and the last round's weights, which nothing reads, are not
    re-trained. `resumed` is the last ticket of an earlier, interrupted run: a mask is all that the
    next round needs, so the rounds after it come out as if there had been no interruption.
    `agreed`: what several processes that do this together make of each one's mask, before any of
    them goes on with it.

    Source: Chen et al., ICML 2022, section 3; the order prune, rewind, train is that of the
    authors' published scripts.
    """
    level, mask = resumed or (0, dense)
    total = counts(dense)[1]
    while level < last:
        weights = theta if level == 0 else retrain(rewind(theta, mask), mask, level)
        level += 1
        scores, count = magnitudes(weights, mask), kept(total, level, pruning.rate)
        mask = agreed(keep(scores, mask, count, pruning.scope, pruning.structure))
        yield level, mask


def at_once(
    net: nn.Module,
    theta: Mapping[str, Tensor],
    dense: Mask,
    pruning: Pruning,
    level: int,
    criterion: Criterion,
    data: Batches = (),
) -> Mask:
    """The mask of a level by theta's scores, without any re-training.

    Where the criterion takes several rounds, each scores what the one before has left, and the
    share that is kept falls exponentially (Tanaka et al. 2020, algorithm 1). What a criterion draws
    depends on the pruning's seed and the level alone. `net`, a network as theta's in eval mode, is
    left with the last weights that were scored.
    """
    total, mask = counts(dense)[1], dense
    number_of, share = rounds(pruning.method), density(level, pruning.rate)
    rng = generator(pruning.seed, f"{pruning.method}-pruning", level)
    last = kept(total, level, pruning.rate)
    for number in range(1, number_of + 1):
        net.load_state_dict(rewind(theta, mask))
        scores = criterion(net, data, rng)
        # An early round would keep more than an n:m structure holds.
        mask = in_pattern(scores, mask, pruning.structure)
        count = round(total * share ** (number / number_of)) if number < number_of else last
        mask = keep(scores, mask, max(last, min(count, counts(mask)[0])), pruning.scope)
    return mask
