"""Masks by scores that are trained on the source."""

from collections.abc import Iterator, Sequence

import torch

from search_spaces.levels import kept
from search_spaces.prunings import Pruning
from search_spaces.spec import Theta, Ticket
from trainables.data import datasets
from trainables.jobs.outcome import Outcome, outcome
from trainables.jobs.theta import Worker, checkpoint_of, distributed, network
from trainables.pruning.learnt import Scored
from trainables.pruning.masks import Mask, State, counts, keep, ones
from trainables.runtime.seeding import derived
from trainables.training.loop import Epoch, Progress, fit
from trainables.training.ranks import from_first


def masks(
    spec: Theta, pruning: Pruning, theta: State, levels: Sequence[int], worker: Worker
) -> Iterator[tuple[int, Mask, Outcome]]:
    """(level, mask, the training of its scores), each level by itself from theta. Raises
    FloatingPointError, saying which, if one diverges."""
    dense = ones(network(spec, torch.device("cpu")))
    for level in levels:
        count = kept(counts(dense)[1], level, pruning.rate)
        scored, reached = _trained(spec, pruning, theta, level, count, worker)
        if reached.state == "diverged":
            raise FloatingPointError(
                f"{pruning.method}, scores of level {level} {reached.reason}: lower its lr"
            )
        yield level, from_first(keep(scored.sizes, dense, count, pruning.scope)), reached


def _trained(
    spec: Theta, pruning: Pruning, theta: State, level: int, count: int, worker: Worker
) -> tuple[Scored, Outcome]:
    assert pruning.retraining is not None, "the spec demands it of method hydra"
    # Catastrophic overfitting is watched for in weights, which stay as they are.
    regime = pruning.retraining.model_copy(update={"containment": None})
    net = network(spec, worker.device)
    net.load_state_dict(theta)
    scored = Scored(net, count, pruning.scope)

    def train(resume: Progress | None) -> Iterator[Epoch]:
        return fit(
            distributed(scored, worker),
            datasets.splits_on(spec.dataset, worker.device),
            regime,
            derived(pruning.seed, "hydra", level),
            augmentation=spec.dataset.augment,
            shard=worker.shard,
            resume=resume,
        )

    ticket = Ticket(theta=spec, pruning=pruning, level=level)
    return scored, outcome(train, regime, checkpoint_of(ticket, worker))
