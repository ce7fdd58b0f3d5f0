"""Any network of a spec: made, its head found, its prunable weights named, its pixels normalised.

A family of networks is a factory from (spec, classes, channels, size of images); a new one is a
line in `_factory`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from search_spaces.errors import InputError
from search_spaces.networks import PREACTS, RESNETS, Model, depth_and_width
from trainables.models.anatomy import examined, mark
from trainables.models.foreign import foreign
from trainables.models.head import with_classes
from trainables.models.normalisation import normalised
from trainables.models.preact_resnets import preact_resnet
from trainables.models.resnets import resnet
from trainables.models.wide_resnets import wide_resnet

_COLOURS = 3


def build(
    model: Model,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    size: int | None = None,
) -> nn.Module:
    """A network with weights drawn from `seed` alone; the global random state is left as it was.

    It takes images (N, C, H, W) in [0, 1] to logits (N, classes). `mean` and `std` (one number a
    channel) become part of the forward pass; grey images are shown three times to a network that
    takes colours. `size`: height and width of the images, for networks that are made for one. What
    is its head and what is pruned: `anatomy`. Raises InputError where it cannot be made.
    """
    channels = len(mean)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _factory(model)(model, classes, channels, size)
        try:
            heads = (model.head,) if model.head else examined(net, classes).heads
            with_classes(net, heads, classes)
            mark(net, examined(net, classes, heads, model.prunable or ()))
        except InputError as error:
            raise InputError(f"{model.arch}: {error}") from None
    if channels == 1 and _channels_taken(net) == _COLOURS:
        mean, std = [*mean] * _COLOURS, [*std] * _COLOURS
    # Convolutions on this layout are faster, on CPU and GPU alike; results are the same numbers.
    return normalised(net, mean, std).to(memory_format=torch.channels_last)


def checked(net: nn.Module, model: Model, classes: int, channels: int, size: int) -> Tensor:
    """The logits (2, classes) of two grey images, in eval mode. Raises InputError where a network
    does not take images of this size, or gives something else than logits."""
    images = torch.full((2, channels, size, size), 0.5)
    was_training = net.training
    try:
        with torch.no_grad():
            logits = net.eval()(images)
    except Exception as error:  # Libraries and users raise anything.
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise InputError(
            f"{model.arch}: does not take images of {channels} x {size} x {size}: {reason}: choose "
            "another size: or other options:"
        ) from error
    finally:
        net.train(was_training)
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"{model.arch}: gives {given} for 2 images, not logits (2, {classes}): return them "
            "alone, or name the last layer under head:"
        )
    return logits


Factory = Callable[[Model, int, int, int | None], nn.Module]


def _factory(model: Model) -> Factory:
    if model.arch in RESNETS:
        return lambda model, classes, channels, _: resnet(model, classes, channels)
    if model.arch in PREACTS:
        return lambda model, classes, channels, _: preact_resnet(model, classes, channels)
    if depth_and_width(model.arch):
        return lambda model, classes, channels, _: wide_resnet(model, classes, channels)
    return lambda model, classes, _, size: foreign(model, classes, size)


def _channels_taken(net: nn.Module) -> int | None:
    """Channels that a network's first convolution takes; None where it has none."""
    first = next((module for module in net.modules() if isinstance(module, _ConvNd)), None)
    return first.in_channels if first else None
