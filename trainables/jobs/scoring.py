"""Masks by a criterion: the network and the images that it sees, and what it returned."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from search_spaces.errors import InputError
from search_spaces.own import is_own
from search_spaces.prunings import CHANNEL, SEE_IMAGES, Pruning
from search_spaces.spec import Theta
from trainables.data import datasets
from trainables.data.images import ImageSet, balanced
from trainables.jobs.theta import Worker, shape
from trainables.pruning import tickets
from trainables.pruning.channels import Channels, channels_of
from trainables.pruning.criteria import CRITERIA, Batches, Criterion
from trainables.pruning.masks import Mask, Scores, State, ones
from trainables.runtime.own import load
from trainables.runtime.seeding import generator
from trainables.training.ranks import from_first

_OF_EACH_CLASS, _AT_ONCE = 10, 128


def masks(
    net: nn.Module,
    spec: Theta,
    pruning: Pruning,
    theta: State,
    levels: Sequence[int],
    worker: Worker,
) -> Iterator[tuple[int, Mask]]:
    """(level, mask) by the pruning's criterion, on a network as theta's, which it changes. Raises
    InputError for a criterion of the user's own that is not there or returns no scores."""
    criterion = criterion_of(pruning)
    looks = is_own(pruning.method) or pruning.method in (*SEE_IMAGES, "synflow")
    data = shown(spec, pruning, worker.device) if looks else ()
    dense, whole = ones(net), channels(net, spec, pruning)
    for level in levels:
        made = tickets.at_once(net.eval(), theta, dense, pruning, level, criterion, data, whole)
        yield level, from_first(made)


def channels(net: nn.Module, spec: Theta, pruning: Pruning) -> Channels | None:
    """A theta's channels, where its pruning keeps or drops them whole."""
    return channels_of(net, shape(spec)) if pruning.structure == CHANNEL else None


def criterion_of(pruning: Pruning) -> Criterion:
    """The function that scores weights: built in, or the user's own, whose scores are looked at."""
    name = pruning.method
    if not is_own(name):
        return CRITERIA[name]
    own = load(name, pruning.sha256)

    def criterion(network: nn.Module, data: Batches, rng: torch.Generator) -> Scores:
        scores = own(network, data, rng)
        dense = ones(network)
        for layer, mask in dense.items():
            given = scores.get(layer) if isinstance(scores, dict) else None
            if not isinstance(given, torch.Tensor) or given.shape != mask.shape:
                raise InputError(
                    f"{name}: gives no scores of shape {tuple(mask.shape)} for {layer}: return a "
                    "dict with a tensor like each prunable parameter, by its name"
                )
        return {layer: scores[layer].detach() for layer in dense}

    return criterion


def shown(spec: Theta, pruning: Pruning, device: torch.device) -> Batches:
    """The training images that a criterion sees, balanced over classes, drawn by the pruning's seed
    and the same at every level."""
    splits = datasets.splits_on(spec.dataset, device)
    images: ImageSet = splits.train
    count = pruning.images or _OF_EACH_CLASS * splits.classes
    order = balanced(images.y.cpu(), generator(pruning.seed, "pruning-images"))[:count]
    batches = images.stream(order.to(device).split(_AT_ONCE), None)
    return [(batch.pixels(), batch.y) for batch in batches]
