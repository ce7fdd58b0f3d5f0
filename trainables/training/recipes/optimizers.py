"""A recipe's optimiser, and its state by parameter name."""

from torch import Tensor, nn, optim

from search_spaces.regimes import Recipe
from trainables.pruning.masks import State

_MOMENTUM = "momentum_buffer"


def optimizer_of(net: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """The optimiser of a training; its learning rate is set before each step."""
    decay = recipe.weight_decay
    if recipe.optimizer == "sgd":
        return optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=decay)
    betas = (recipe.momentum, 0.999)
    return optim.AdamW(net.parameters(), recipe.lr, betas, weight_decay=decay)


def state_of(net: nn.Module, optimizer: optim.Optimizer) -> State:
    """Copies on the CPU: momentum under a parameter's name, other state under NAME:KIND."""
    return {
        name if kind == _MOMENTUM else f"{name}:{kind}": value.detach().cpu().clone()
        for name, parameter in net.named_parameters()
        for kind, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def restore(net: nn.Module, optimizer: optim.Optimizer, state: State) -> None:
    """Puts back what `state_of` copied."""
    parameters = dict(net.named_parameters())
    for key, value in state.items():
        name, _, kind = key.partition(":")
        parameter = parameters[name]
        own = value.clone() if value.shape != parameter.shape else parameter.detach().clone()
        optimizer.state[parameter][kind or _MOMENTUM] = own.copy_(value)
