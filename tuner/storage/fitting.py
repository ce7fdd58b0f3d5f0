"""Do a study's networks and published weights fit its data? Asked before anything is started.

Imports torch only where a study has weights, or a network other than our ResNets, which take images
of any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.errors import InputError
from search_spaces.levels import density, kept
from search_spaces.networks import RESNETS, Checkpoint, Model
from search_spaces.prunings import CHANNEL
from search_spaces.spec import Dataset
from search_spaces.study import Study
from trainables.data.catalogue import NORMALISATION, channels_and_classes

if TYPE_CHECKING:
    from torch import nn


def check_networks(study: Study) -> None:
    """Raises InputError where a network cannot be made, does not take a task's images, or has
    other parameters on the source's images than on a downstream task's."""
    model, datasets = study.source.model, [study.source.dataset]
    datasets += [task.dataset for task in study.downstream]
    if model.arch in RESNETS:
        return
    known: dict[tuple[int, int, int], dict[str, tuple[int, ...]]] = {}
    for dataset in datasets:
        kind = (*channels_and_classes(dataset), dataset.size)
        if kind not in known:
            known[kind] = _body(model, dataset)
    source, *others = ((d, known[*channels_and_classes(d), d.size]) for d in datasets)
    for dataset, body in others:
        if body != source[1]:
            name = next(n for n in source[1] if body.get(n) != source[1][n])
            raise InputError(
                f"{model.arch}: its {name} is made for a size of images, and {source[0].title} has "
                f"{source[0].size} pixels, {dataset.title} {dataset.size}: give both one size:"
            )


def _body(model: Model, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's parameters but its head's."""
    from trainables.models.anatomy import anatomy
    from trainables.models.networks import checked

    channels, classes = channels_and_classes(dataset)
    net = _network(model, dataset)
    checked(net, model, classes, channels, dataset.size)
    parts = anatomy(net)
    return {n: tuple(p.shape) for n, p in net.named_parameters() if not parts.in_head(n)}


def check_channels(study: Study) -> None:
    """Raises InputError where whole channels are to be pruned, and torch-pruning is absent, or the
    network cannot be followed, or too much of it is in channels that stay."""
    plans = {name: p for name, p in study.pruning.items() if p.structure == CHANNEL}
    if not plans:
        return
    from trainables.pruning.channels import channels_of, stays
    from trainables.pruning.masks import counts, ones

    model, dataset = study.source.model, study.source.dataset
    net = _network(model, dataset)
    shape = (channels_and_classes(dataset)[0], dataset.size, dataset.size)
    dense = ones(net)
    least, total = stays(dense, channels_of(net, shape)), counts(dense)[1]
    for name, plan in plans.items():
        for level in plan.made_levels:
            if kept(total, level, plan.rate) < least:
                raise InputError(
                    f"pruning.{name}: level {level} keeps {100 * density(level, plan.rate):.2f} % "
                    f"of {model.arch}, and {100 * least / total:.2f} % are in channels that stay: "
                    "end at a lower level, or leave structure out"
                )


def sparsity(load: Checkpoint, model: Model, dataset: Dataset) -> float:
    """The share of zeros among weights that fit the network. Raises InputError if they cannot be
    read or do not fit: here, not hours later in a worker. Weights by name are not fetched for it.
    """
    from trainables.checkpoints import formats, states
    from trainables.models.anatomy import prunable

    if load.path is None:
        formats.named(load, model)
        return 0.0
    net = _network(model, dataset)
    known = model.normalisation or NORMALISATION.get(dataset.name)
    loaded = formats.state_for(load, model, net) if known else formats.load(load, model, net).state
    return states.zeros(loaded, prunable(net))


def _network(model: Model, dataset: Dataset) -> nn.Module:
    from trainables.models import networks

    channels, classes = channels_and_classes(dataset)
    own = model.normalisation
    known = (own.mean, own.std) if own else NORMALISATION.get(dataset.name)
    mean, std = known or ([0.5] * channels, [0.5] * channels)
    return networks.build(model, classes, mean, std, seed=0, size=dataset.size)
