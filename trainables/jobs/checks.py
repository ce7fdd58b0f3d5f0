"""Further checks of a transferred network: AutoAttack, and attacks made on another network."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import InputError
from search_spaces.regimes import Attack
from search_spaces.spec import AutoAttackCheck, Check, TransferAttackCheck
from trainables.checkpoints import formats
from trainables.data.images import Splits
from trainables.models import resnets
from trainables.runtime.seeding import derived, generator
from trainables.training.accuracy import correct
from trainables.training.attacks import perturb
from trainables.training.evaluation import BATCH, evaluating, first_images


def run(check: Check, net: nn.Module, data: Splits) -> tuple[dict[str, Any], Tensor]:
    """(record, per-image correctness) of a check on the test images, in eval mode and float32.

    record: `kind`, `images`, `ra` (accuracy in [0, 1]) and `warnings`, the library's own words.
    """
    said: list[str] = []
    with evaluating(net), _overheard("auto-attack", said):
        if check.kind == "autoattack":
            right = _autoattack(check, net, data)
        else:
            right = _transfer_attack(check, net, data)
    record = {
        "kind": check.kind,
        "images": len(right),
        "ra": right.double().mean().item(),
        # APGD repeats itself at every restart.
        "warnings": list(dict.fromkeys(said)),
    }
    return record, right


@contextmanager
def _overheard(name: str, said: list[str]) -> Iterator[None]:
    """Collects the warnings that a logger gives inside."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _autoattack(check: AutoAttackCheck, net: nn.Module, data: Splits) -> Tensor:
    """(N,) bool: which images does the standard ensemble leave correct?"""
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise InputError(
            "check autoattack: pyautoattack is not installed: pip install '.[autoattack]'"
        ) from None
    if data.classes < 4:
        raise InputError(f"check autoattack: its losses need 4 classes, there are {data.classes}")
    x, y = first_images(data.test, check.images)
    adversary = AutoAttack(net, eps=check.epsilon, device=x.device, seed=0, version="standard")
    # Its targeted attacks aim at nine other classes, where there are as many.
    targets = min(9, data.classes - 1)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
    attacked, _ = adversary.run_standard_evaluation(x, y, batch_size=BATCH)
    return _correct(net, attacked.to(x.device), y)


def _transfer_attack(check: TransferAttackCheck, net: nn.Module, data: Splits) -> Tensor:
    """(N,) bool: which images stay correct when attacked on the surrogate?"""
    own = check.model.normalisation
    mean, std = (own.mean, own.std) if own else (data.mean, data.std)
    surrogate = resnets.build(check.model, data.classes, mean, std, seed=0)
    surrogate.load_state_dict(formats.state_for(check.load, check.model, surrogate))
    x, y = first_images(data.test, check.images)
    return withstands_other(net, surrogate.to(x.device), x, y, check.attack)


def withstands_other(
    net: nn.Module, surrogate: nn.Module, x: Tensor, y: Tensor, attack: Attack
) -> Tensor:
    """(N,) bool on the CPU: which images stay correct for `net` when attacked on the surrogate?
    `net` is in eval mode; the surrogate is put into it."""
    surrogate.eval()
    parts = []
    for number, start in enumerate(range(0, len(y), BATCH)):
        rng = generator(derived(0, "transfer-attack"), number, device=x.device)
        end = start + BATCH
        parts.append(perturb(surrogate, x[start:end], y[start:end], attack, rng))
    return _correct(net, torch.cat(parts), y)


def _correct(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        logits = torch.cat([net(part) for part in x.split(BATCH)])
    return correct(logits, y).cpu()
