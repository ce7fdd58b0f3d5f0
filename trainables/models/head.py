"""A network's head, replaced by one for another number of classes."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from search_spaces.errors import InputError
from trainables.models.anatomy import outputs


def with_classes(net: nn.Module, heads: Sequence[str], classes: int) -> None:
    """Replaces, in place, each head that has not as many outputs as there are classes by a new
    layer of its kind. Raises InputError where a head is no linear layer and no convolution."""
    for name in heads:
        try:
            old = net.get_submodule(name)
        except AttributeError:
            raise InputError(
                f"head: it has no module {name}: name its last linear layer, as {_last(net)}"
            ) from None
        if not isinstance(old, nn.Linear | _ConvNd):
            raise InputError(
                f"head: {name} is a {type(old).__name__}: name a linear layer, as {_last(net)}"
            )
        if outputs(old) != classes:
            holder, _, last = name.rpartition(".")
            setattr(net.get_submodule(holder), last, _like(old, classes))


def _like(old: nn.Linear | _ConvNd, classes: int) -> nn.Module:
    has_bias = old.bias is not None
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, classes, bias=has_bias)
    shape: dict[str, Any] = {"stride": old.stride, "padding": old.padding, "bias": has_bias}
    return type(old)(old.in_channels, classes, old.kernel_size, **shape)


def _last(net: nn.Module) -> str:
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else "classifier"
