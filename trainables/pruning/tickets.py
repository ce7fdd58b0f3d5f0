"""Finding tickets: iterative magnitude pruning, and pruning at once by any criterion."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from search_spaces.levels import density, kept
from search_spaces.prunings import Pruning
from trainables.pruning.channels import Channels, keep_channels
from trainables.pruning.criteria import Batches, Criterion, rounds
from trainables.pruning.masks import (
    Mask,
    Scores,
    State,
    counts,
    in_pattern,
    keep,
    magnitudes,
    rewind,
)
from trainables.runtime.seeding import generator

Retrain = Callable[[State, Mask, int], State]
"""(weights under the mask, mask, level) -> weights after re-training on the source."""


class Found(NamedTuple):
    """A ticket: its level, its mask, and the weights of which it has those under the mask."""

    level: int
    mask: Mask
    weights: Mapping[str, Tensor]


def imp(
    theta: Mapping[str, Tensor],
    start: Found,
    pruning: Pruning,
    last: int,
    retrain: Retrain,
    channels: Channels | None = None,
    agreed: Callable[[Mask], Mask] = lambda mask: mask,
) -> Iterator[Found]:
    """Iterative magnitude pruning, yielding a ticket round by round up to the `last` level.

    Each round prunes `pruning.rate` of the remaining weights by magnitude and re-trains the ticket
    on the source; the next round prunes by those magnitudes. The first round prunes theta itself,
    and the last round's ticket, whose trained weights nothing reads, is not re-trained. A ticket
    has the `start`'s weights, theta's or earlier ones, or, where the pruning does not rewind, those
    that the round has pruned. `start`: the dense network, level 0, or the last ticket of an
    earlier, interrupted run: it is all that the next round needs, so the rounds after it come out
    as if there had been no interruption. `channels`: the network's, where the pruning keeps or
    drops them whole. `agreed`: what several processes that do this together
    make of each one's mask, before any of them goes on with it.

    Source: Chen et al., ICML 2022, section 3; the order prune, rewind, train is that of the
    authors' published scripts.
    """
    level, mask, weights = start
    total = counts(mask)[1]
    while level < last:
        pruned = theta if level == 0 else retrain(rewind(weights, mask), mask, level)
        level += 1
        scores, count = magnitudes(pruned, mask), kept(total, level, pruning.rate)
        mask = agreed(_highest(scores, mask, count, pruning, channels))
        weights = pruned if pruning.goes_on else weights
        yield Found(level, mask, weights)


def at_once(
    net: nn.Module,
    theta: Mapping[str, Tensor],
    dense: Mask,
    pruning: Pruning,
    level: int,
    criterion: Criterion,
    data: Batches = (),
    channels: Channels | None = None,
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
        most = max(last, min(count, counts(mask)[0]))
        mask = _highest(scores, mask, most, pruning, channels)
    return mask


def _highest(
    scores: Scores, mask: Mask, count: int, pruning: Pruning, channels: Channels | None
) -> Mask:
    if channels is not None:
        return keep_channels(scores, mask, count, channels, pruning.scope)
    return keep(scores, mask, count, pruning.scope, pruning.structure)
