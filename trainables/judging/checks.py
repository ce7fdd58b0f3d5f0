"""Further checks of a transferred network: AutoAttack, attacks made on another network, further
attacks, corruptions."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.checks import (
    AttackCheck,
    AutoAttackCheck,
    Check,
    CorruptionsCheck,
    TransferAttackCheck,
)
from search_spaces.errors import InputError
from search_spaces.regimes import Attack
from trainables.checkpoints import formats
from trainables.corruptions.catalogue import CORRUPTIONS, SEVERITIES, corrupted
from trainables.data.images import ImageSet, Splits, pixels
from trainables.models import networks
from trainables.runtime.seeding import derived, generator
from trainables.training.accuracy import correct
from trainables.training.attacks import perturb
from trainables.training.evaluation import BATCH, evaluate, evaluating, first_images


def run(
    check: Check, net: nn.Module, data: Splits, surrogate: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Any], Tensor]:
    """(record, per-image correctness) of a check on the test images, in eval mode and float32.

    surrogate: the weights of the other network, where the study has trained it. record: `kind`,
    `name`, `images`, `ra` (accuracy under the attack, in [0, 1]) and `warnings`, the library's own
    words. Of corruptions, correctness is (N, corruptions, severities), and the record has `sa`, the
    mean over all of them, and `by`: each corruption's, severity by severity.
    """
    messages: list[str] = []
    with evaluating(net), _overheard("auto-attack", messages):
        match check:
            case AutoAttackCheck():
                right = _autoattack(check, net, data)
            case TransferAttackCheck():
                right = _transfer_attack(check, net, data, surrogate)
            case AttackCheck():
                right = _attack(check, net, data)
            case CorruptionsCheck():
                right = _corruptions(check, net, data)
    record: dict[str, Any] = {
        "kind": check.kind,
        "name": check.name,
        "images": len(right),
        "sa" if check.kind == "corruptions" else "ra": right.double().mean().item(),
        # APGD repeats itself at every restart.
        "warnings": list(dict.fromkeys(messages)),
    }
    if check.kind == "corruptions":
        shares = right.double().mean(0).tolist()
        record["by"] = dict(zip(CORRUPTIONS, shares, strict=True))
    return record, right


@contextmanager
def _overheard(name: str, messages: list[str]) -> Iterator[None]:
    """Collects the warnings that a logger gives inside."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
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
    device = next(net.parameters()).device
    norm = {"linf": "Linf", "l2": "L2"}[check.norm]
    adversary = AutoAttack(
        net, norm=norm, eps=check.epsilon, device=device, seed=0, version="standard"
    )
    # Its targeted attacks aim at nine other classes, where there are as many.
    targets = min(9, data.classes - 1)
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = targets
    right = []
    for x, y in _batches(data.test[slice(0, check.images)]):
        attacked, _ = adversary.run_standard_evaluation(x, y, batch_size=len(y))
        right.append(_correct(net, attacked.to(device), y))
    return torch.cat(right)


def _transfer_attack(
    check: TransferAttackCheck,
    net: nn.Module,
    data: Splits,
    weights: Mapping[str, Tensor] | None,
) -> Tensor:
    """(N,) bool: which images stay correct when attacked on the surrogate?"""
    own = check.model.normalisation
    mean, std = (own.mean, own.std) if own else (data.mean, data.std)
    size = first_images(data.test, 1)[0].shape[-1]
    surrogate = networks.build(check.model, data.classes, mean, std, seed=0, size=size)
    if check.load is not None:
        weights = formats.state_for(check.load, check.model, surrogate)
    assert weights is not None, "trained before its transfers are"
    surrogate.load_state_dict(weights)
    surrogate.to(next(net.parameters()).device)
    return withstands_other(net, surrogate, data.test[slice(0, check.images)], check.attack)


def withstands_other(
    net: nn.Module, surrogate: nn.Module, images: ImageSet, attack: Attack
) -> Tensor:
    """(N,) bool on the CPU: which images stay correct for `net` when attacked on the surrogate?
    `net` is in eval mode; the surrogate is put into it."""
    surrogate.eval()
    right = []
    for number, (x, y) in enumerate(_batches(images)):
        rng = generator(derived(0, "transfer-attack"), number, device=x.device)
        right.append(_correct(net, perturb(surrogate, x, y, attack, rng), y))
    return torch.cat(right)


def _attack(check: AttackCheck, net: nn.Module, data: Splits) -> Tensor:
    """(N,) bool: which images withstand the attack?"""
    images = data.test[slice(0, check.images)]
    attacked = evaluate(net, images, check.attack, check.protocol).attacked
    assert attacked is not None, "an attack was asked for"
    return attacked


def _corruptions(check: CorruptionsCheck, net: nn.Module, data: Splits) -> Tensor:
    """(N, corruptions, severities) bool: which images stay correct under each? Corrupted on the
    CPU, whatever judges them, so that all machines see the same pictures."""
    right = []
    for number, (x, y) in enumerate(_batches(data.test[slice(0, check.images)])):
        clean, seed = (255 * x).round().to("cpu", torch.uint8), derived(0, "corruptions", number)
        seen = [
            _correct(net, pixels(corrupted(clean, name, severity, seed).to(x.device)), y)
            for name in CORRUPTIONS
            for severity in SEVERITIES
        ]
        right.append(torch.stack(seen, 1).view(len(y), len(CORRUPTIONS), len(SEVERITIES)))
    return torch.cat(right)


def _batches(images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels in [0, 1] and labels, one batch at a time: as floats, 10,000 images of 224 pixels are
    6 GB."""
    for batch in images.stream(torch.arange(len(images)).split(BATCH), None):
        yield batch.pixels(), batch.y


def _correct(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return correct(net(x), y).cpu()
