"""What must come out the same however its steps are executed: small trainings and evaluations of
every kind."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from search_spaces.networks import Model
from search_spaces.regimes import Attack, Evaluation, OneCycle, Protocol, Regime
from search_spaces.spec import Augmentation
from trainables.data.images import Images, Splits
from trainables.models import networks
from trainables.pruning import masks
from trainables.pruning.masks import Mask
from trainables.runtime import capture, precision
from trainables.runtime.seeding import generator
from trainables.training.evaluation import evaluate
from trainables.training.loop import Epoch, Progress, fit, snapshot

PGD = Attack(kind="pgd", epsilon=8 / 255, alpha=2 / 255, steps=3)
FGSM = Attack(kind="fgsm", epsilon=8 / 255, alpha=10 / 255)
WAITING = "a network that waits"
"""The case that no graph can hold."""


@dataclass(frozen=True)
class Outcome:
    """What a training or evaluation came to, on the CPU."""

    losses: list[float] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    right: list[Tensor] = field(default_factory=list)
    executions: list[str] = field(default_factory=list)


Case = Callable[[torch.device], Outcome]


def _network(device: torch.device) -> nn.Module:
    model = Model(arch="resnet8", width=8)
    return networks.build(model, 10, [0.5] * 3, [0.25] * 3, seed=0).to(device)


def _data(device: torch.device) -> Splits:
    """Images brighter in a place that their class names: there is something to be learnt."""
    rng = generator(0, "check")
    parts = []
    for count in (160, 96, 0):
        y = torch.randint(0, 10, (count,), generator=rng)
        x = torch.randint(0, 200, (count, 3, 16, 16), generator=rng)
        x[torch.arange(count), :, y + 3] += 55
        parts.append(Images(x.to(torch.uint8), y))
    train, val, test = parts
    return Splits(train, val, test, 10, (0.5,) * 3, (0.25,) * 3).to(device)


def _objective(**fields: object) -> Regime:
    """A regime with PGD and another loss."""
    return Regime.model_validate({**_regime(PGD).model_dump(), **fields})


def _regime(attack: Attack | None = None, mode: str = "train", **recipe: object) -> Regime:
    whole = {"epochs": 2, "batch_size": 32, "lr": 0.05, **recipe}
    content = {"recipe": whole, "attack": attack, "attack_mode": mode}
    if attack and attack.kind != "pgd":
        content["containment"] = {"on_collapse": "continue", "probe_images": 32, "probe_steps": 2}
    return Regime.model_validate(content)


def _mask(net: nn.Module) -> Mask:
    full = masks.ones(net)
    return masks.random(full, masks.counts(full)[1] // 3, generator(0, "mask"))


def _outcome(net: nn.Module, epochs: list[Epoch]) -> Outcome:
    return Outcome(
        [epoch.loss for epoch in epochs],
        {n: v for n, v in snapshot(net).items() if v.is_floating_point()},
        executions=[epoch.execution for epoch in epochs],
    )


def _trained(
    regime: Regime, device: torch.device, masked: bool = False, net: nn.Module | None = None
) -> Outcome:
    net = net or _network(device)
    how = Augmentation(crop=2, flip=True)
    mask = _mask(net) if masked else None
    epochs = list(fit(net, _data(device), regime, 0, mask=mask, augmentation=how))
    if mask:
        state = snapshot(net)
        assert not any(state[name][~kept].any() for name, kept in mask.items()), "a mask was broken"
    return _outcome(net, epochs)


def _watched(device: torch.device) -> Outcome:
    """A training whose attack is lowered by containment after its first epoch."""
    regime = _regime(FGSM, epochs=3)
    assert regime.containment is not None
    nervous = regime.containment.model_copy(
        update={"on_collapse": "lower_alpha", "fall": 1e-9, "gap": 1e-9, "patience": 1}
    )
    how = Evaluation(attack=PGD, validation=PGD)
    net, data = _network(device), _data(device)
    regime = regime.model_copy(update={"containment": nervous})
    return _outcome(net, list(fit(net, data, regime, 0, how)))


def _alphas(device: torch.device) -> Outcome:
    """Two trainings that differ in the attack's alpha alone."""
    both = [_trained(_regime(PGD.model_copy(update={"alpha": a})), device) for a in (0.01, 0.03)]
    assert both[0].losses != both[1].losses, "alpha makes no difference"
    return Outcome(both[0].losses + both[1].losses, both[1].weights, [], both[1].executions)


def _resumed(device: torch.device) -> Outcome:
    """A training that another process left after its first epoch."""
    regime, data, net = _regime(PGD, epochs=3), _data(device), _network(device)
    first = next(fit(net, data, regime, 0))
    left: Progress = first.progress()
    other = _network(device)
    return _outcome(other, [first, *fit(other, data, regime, 0, resume=left)])


def _in_turns(device: torch.device) -> Outcome:
    """Two trainings of like networks that take turns."""
    regime, data = _regime(PGD), _data(device)
    nets = [_network(device) for _ in range(2)]
    turns = zip(*(fit(net, data, regime, seed) for seed, net in enumerate(nets)), strict=True)
    epochs = [epoch for pair in turns for epoch in pair]
    return _outcome(nets[1], epochs)


def _evaluated(attack: Attack, counting: Protocol, device: torch.device) -> Outcome:
    """Evaluation of a network that is right about a part of the images."""
    net, data = _network(device), _data(device)
    with executed("off"):
        list(fit(net, data, _regime(epochs=4, lr=0.1), 0))
    result = evaluate(net, data.train, attack, counting, batch_size=len(data.train))
    assert result.attacked is not None
    assert result.clean.double().mean() > 0.2, "too little is learnt to tell"
    return Outcome(right=[result.clean, result.attacked], executions=[result.execution])


class _Waiting(nn.Module):
    """A network that no graph can hold: it looks at its own output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits if logits.sum().item() == logits.sum().item() else -logits


def _with_a_network_that_waits(device: torch.device) -> Outcome:
    return _trained(_regime(PGD), device, net=_Waiting(_network(device)))


def _in_bf16(device: torch.device) -> Outcome:
    with _set(precision.VARIABLE, "bf16"):
        return _trained(_regime(), device)


CASES: dict[str, Case] = {
    "standard": partial(_trained, _regime()),
    "fast adversarial": partial(_trained, _regime(FGSM)),
    "n_fgsm": partial(_trained, _regime(Attack(kind="n_fgsm", epsilon=0.03, alpha=0.03))),
    "pgd": partial(_trained, _regime(PGD)),
    "pgd in eval mode": partial(_trained, _regime(PGD, "eval")),
    "mask": partial(_trained, _regime(PGD, weight_decay=0.01), masked=True),
    "no momentum": partial(_trained, _regime(momentum=0.0)),
    "schedule": partial(_trained, _regime(schedule=OneCycle(kind="one_cycle"), epochs=3)),
    "smaller batches": partial(_trained, _regime(PGD, batch_size=48)),
    "micro-batches": partial(_trained, _regime(PGD, micro_batch=12)),
    "label smoothing": partial(
        _trained, _objective(loss={"kind": "cross_entropy", "smoothing": 0.1})
    ),
    "trades": partial(_trained, _objective(loss="trades")),
    "mart": partial(_trained, _objective(loss="mart")),
    WAITING: _with_a_network_that_waits,
    "another alpha": _alphas,
    "alpha lowered": _watched,
    "resumed": _resumed,
    "in turns": _in_turns,
    "bf16": _in_bf16,
    "evaluation": partial(_evaluated, PGD, "plain"),
    "evaluation, restarts": partial(_evaluated, PGD.model_copy(update={"restarts": 2}), "plain"),
    "evaluation, every iterate": partial(_evaluated, PGD, "worst_iterate"),
}


@contextmanager
def executed(way: str) -> Iterator[None]:
    """Inside, steps are executed in this way: off, calls or auto; see runtime.capture."""
    with _set(capture.VARIABLE, way):
        yield


@contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
