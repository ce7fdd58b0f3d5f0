"""The bench's work as others do it: the published loop, written anew from reading it, and a plain
loop around an attack library.

Networks are laid out as torchvision makes them (N, C, H, W).
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils.data import DataLoader
from torchvision import transforms

from search_spaces.regimes import Attack
from trainables.bench import ours
from trainables.bench.libraries import Attacker
from trainables.bench.ours import ATTACKS, Work
from trainables.data.images import Images, augment
from trainables.pruning.masks import Mask, apply_, factors
from trainables.runtime.seeding import generator
from trainables.training.attacks import frozen

# Loader processes of the published code. On CPUs, where every core has a training of its own, they
# would take another's: there the loading is done, and counted, in the process itself.
_LOADERS = {"cuda": 2, "cpu": 0}


# --- the published loop -------------------------------------------------------------------------


def published_attack(
    model: nn.Module, x: Tensor, y: Tensor, attack: Attack, delta: Tensor | None = None
) -> Tensor:
    """PGD as in advertorch, which the published code calls: the perturbation is what is optimised,
    by .backward(), and clamped twice a step. `delta`: the start, inside the ball."""
    if delta is None:
        delta = torch.empty_like(x).uniform_(-attack.epsilon, attack.epsilon)
    delta = nn.Parameter((x + delta).clamp(0, 1) - x)
    for _ in range(attack.steps):
        loss = F.cross_entropy(model(x + delta), y)
        loss.backward()
        assert delta.grad is not None, "it was just computed"
        delta.data = delta.data + attack.alpha * delta.grad.data.sign()
        delta.data = delta.data.clamp(-attack.epsilon, attack.epsilon)
        delta.data = (x.data + delta.data).clamp(0, 1) - x.data
        delta.grad.data.zero_()
    return (x + delta).clamp(0, 1).detach()


def published(work: Work, freezes: bool = True) -> Callable[[], object]:
    """The loop of the paper's public code: pruning by torch.nn.utils.prune, whose mask multiplies
    the weights in every forward pass; images cut and flipped one by one; loss and accuracy read
    after every step. In training it freezes the parameters during the attack; evaluation it does
    not. Without `freezes`: as loops that form the parameters' gradients in the attack too."""
    if work.operation == "plain":
        return _published_at_half(work)
    net, mask = _network(work)
    prune_as_published(net, mask)
    if work.operation == "evaluate":
        return partial(_accuracies, net, _labelled(work, net), published_attack)
    loader = _loader(ours.images(work), work)
    optimizer = _optimizer(net)
    held = (lambda: frozen(net)) if freezes else nullcontext

    def epoch() -> None:
        losses, accuracies = 0.0, 0.0
        net.train()
        for x, y in loader:
            x, y = x.to(work.device), y.to(work.device)
            attack = ATTACKS[work.operation]
            if attack:
                with held():
                    x = published_attack(net, x, y, attack)
            logits = net(x)
            loss = F.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(y)
            accuracies += (logits.argmax(1) == y).float().mean().item() * len(y)

    return epoch


def _published_at_half(work: Work) -> Callable[[], object]:
    """Every image is attacked to the end, also one that is misclassified already."""
    net, there, attack = ours.half_robust(work.images, work.device)
    net.to(memory_format=torch.contiguous_format)
    return partial(_accuracies, net, _batched(there, work.batch), published_attack, attack)


def prune_as_published(net: nn.Module, mask: Mask) -> None:
    """Prunes as the published scripts do: by torch, which multiplies with the mask at each pass."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            kept = mask[f"{name}.weight"].to(module.weight.device)
            prune.custom_from_mask(module, "weight", kept)


class _OneByOne(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images through PIL and torchvision's transforms, each by itself."""

    def __init__(self, there: Images, work: Work) -> None:
        to_pil, case = transforms.ToPILImage(), work.settings
        self.images = [to_pil(x) for x in there.x]
        self.labels = there.y.tolist()
        crop: Any = transforms.RandomCrop(case.size, padding=case.augment.crop)
        if case.raw != case.size:
            crop = transforms.RandomResizedCrop(case.size)
        flip = [transforms.RandomHorizontalFlip()] if case.augment.flip else []
        self.transform = transforms.Compose([crop, *flip, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def _loader(there: Images, work: Work) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(
        _OneByOne(there, work),
        batch_size=work.batch,
        shuffle=True,
        num_workers=_LOADERS[work.device],
        persistent_workers=_LOADERS[work.device] > 0,
        pin_memory=work.device == "cuda",
    )


# --- attack libraries ---------------------------------------------------------------------------


def with_library(work: Work, attacker: Attacker) -> Callable[[], object]:
    """A plain loop around a library's attack, on images in memory."""
    net, mask = _network(work)
    if work.operation == "evaluate":
        return partial(_accuracies, net, _labelled(work, net), attacker)
    there = ours.images(work).to(work.device)
    kept = factors(net, mask)
    optimizer, rng = _optimizer(net), generator(0, "peer", device=work.device)

    def epoch() -> None:
        for x, y in _batches(there, work, rng):
            net.train()
            attack = ATTACKS[work.operation]
            x = attacker(net, x, y, attack) if attack else x
            net.train()
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            apply_(net, kept)

    return epoch


def _batches(there: Images, work: Work, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(there)).split(work.batch)
    for batch in there.stream(order, None):
        x = augment(batch.pixels(rng), work.settings.augment, rng).contiguous()
        yield x, batch.y


# --- what all share -----------------------------------------------------------------------------


def _network(work: Work) -> tuple[nn.Module, Mask]:
    net, mask = ours.network(work)
    return net.to(memory_format=torch.contiguous_format), mask


def _optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 1e-4, momentum=0.9, weight_decay=5e-4)


def _labelled(work: Work, net: nn.Module) -> list[tuple[Tensor, Tensor]]:
    there = ours.images(work).to(work.device)
    return _batched(ours.as_predicted(net, there, work.batch), work.batch)


def _batched(there: Images, batch: int) -> list[tuple[Tensor, Tensor]]:
    parts = torch.arange(len(there)).split(batch)
    return [(b.pixels().contiguous(), b.y) for b in there.stream(parts, None)]


def _accuracies(
    net: nn.Module,
    batches: list[tuple[Tensor, Tensor]],
    attacker: Attacker,
    attack: Attack = ours.PGD_20,
) -> float:
    """Clean and robust accuracy, read batch by batch."""
    net.eval()
    right = 0.0
    for x, y in batches:
        attacked = attacker(net, x, y, attack)
        with torch.no_grad():
            right += (net(x).argmax(1) == y).float().sum().item()
            right += (net(attacked).argmax(1) == y).float().sum().item()
    return right
