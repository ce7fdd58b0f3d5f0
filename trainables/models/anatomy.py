"""What of a network is its head, and what of it is pruned: found for any network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from search_spaces.errors import InputError


@dataclass(frozen=True)
class Anatomy:
    """heads: the modules that give the logits, by name; prunable: names of the parameters that are
    pruned, in the network's order."""

    heads: tuple[str, ...]
    prunable: tuple[str, ...]

    def in_head(self, name: str) -> bool:
        """Does a parameter or buffer belong to a head? Heads belong to the task that they were
        trained on."""
        return any(name.startswith(f"{head}.") for head in self.heads)


def anatomy(net: nn.Module) -> Anatomy:
    """What `build` has found of its network; of any other, what is found by default."""
    known = getattr(net, "anatomy", None)
    return known if isinstance(known, Anatomy) else examined(net)


def mark(net: nn.Module, known: Anatomy) -> None:
    """Keeps with a network, and with its copies, what is known of it."""
    object.__setattr__(net, "anatomy", known)


def prunable(net: nn.Module) -> list[str]:
    """Names of the parameters that are pruned, in the network's order."""
    return list(anatomy(net).prunable)


def examined(
    net: nn.Module,
    classes: int | None = None,
    heads: Sequence[str] = (),
    patterns: Sequence[str] = (),
) -> Anatomy:
    """Head and prunable parameters.

    The head is what timm says of its networks; else the last linear layer with as many outputs as
    classes, or the last convolution with as many (SqueezeNet has no linear layer); `heads` names
    others. Pruned are the weights of convolutions and linear layers, those inside attention among
    them, but the head's: norm layers, biases, embeddings, positional parameters and class tokens
    are kept. `patterns` (* and ?) over the names of all parameters of two dimensions and more
    choose others. Raises InputError where there is no head, or nothing to prune, or a pattern
    matches nothing.
    """
    heads = tuple(heads) or _heads(net, classes)
    layers = _layer_weights(net)
    own = {name: p for name, p in net.named_parameters() if not Anatomy(heads, ()).in_head(name)}
    if patterns:
        matrices = [name for name, p in own.items() if p.dim() > 1]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in matrices):
                raise InputError(
                    f"prunable: no parameter of two dimensions outside the head matches {pattern}: "
                    f"there are {', '.join(matrices[:3])}, ..."
                )
        found = [name for name in matrices if any(fnmatchcase(name, p) for p in patterns)]
    else:
        found = [name for name in own if name in layers]
    if not found:
        raise InputError("it has no convolution and no linear layer but its head: nothing to prune")
    return Anatomy(heads, tuple(found))


def outputs(layer: nn.Linear | _ConvNd) -> int:
    """Features that a linear layer or a convolution gives."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _heads(net: nn.Module, classes: int | None) -> tuple[str, ...]:
    if stated := _stated(net):
        return stated
    # Of an unknown number of classes, only a linear layer is surely a head.
    for kind in (nn.Linear, _ConvNd) if classes is not None else (nn.Linear,):
        layers = {name: module for name, module in net.named_modules() if isinstance(module, kind)}
        fitting = [name for name, each in layers.items() if classes in (None, outputs(each))]
        if fitting:
            return (fitting[-1],)
    if classes is None:
        return ()
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError("no head is found, a linear layer at its end: name it under head:")
    return (linear[-1],)


def _stated(net: nn.Module) -> tuple[str, ...]:
    """The heads that timm names of its networks; of those that learn from a teacher there are two.
    () of others."""
    known = getattr(net, "pretrained_cfg", None)
    named = known.get("classifier") if isinstance(known, dict) else None
    names = (named,) if isinstance(named, str) else tuple(named or ())
    layers = dict(net.named_modules())
    return names if all(isinstance(layers.get(n), nn.Linear | _ConvNd) for n in names) else ()


def _layer_weights(net: nn.Module) -> set[str]:
    """Names of the weights of convolutions and linear layers."""
    return {f"{name}.{part}" for name, module in net.named_modules() for part in _weights(module)}


def _weights(module: nn.Module) -> Iterator[str]:
    if isinstance(module, nn.Linear | _ConvNd):
        yield "weight"
    elif isinstance(module, nn.MultiheadAttention):
        # Its projections of queries, keys and values are parameters without a layer.
        for part in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if isinstance(getattr(module, part), Tensor):
                yield part
