"""The gradient of one batch. What does not fit into memory is taken in parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from search_spaces.regimes import Regime
from trainables.runtime import out_of_memory
from trainables.runtime.precision import lowered, raised
from trainables.training.attacks import perturb
from trainables.training.evaluation import evaluating

T = TypeVar("T")


@dataclass
class Portions:
    """Into how many parts the batches of a training are split.

    It starts with `parts`, and doubles them as often as a step runs out of memory; it never goes
    back. alone: does this process train by itself? Of several, one cannot repeat a step alone.
    """

    parts: int = 1
    alone: bool = True
    _fits: bool = False

    def step(
        self, work: Callable[[int], T], net: nn.Module, rng: torch.Generator, images: int
    ) -> T:
        """What `work`, given the number of parts, returns of a batch of `images`.

        A step that runs out of memory is repeated with the same random numbers; if it is a
        training's first, with the same running statistics too: the training is then the one that
        would have begun with as many parts. Raises what `work` raises; of lack of memory, where
        single images do not fit either.
        """
        if not self.alone:
            return work(self.parts)
        drawn = rng.get_state()
        statistics = [] if self._fits else [(b, b.clone()) for b in net.buffers()]

        def go_back() -> None:
            rng.set_state(drawn)
            for buffer, value in statistics:
                buffer.copy_(value)
            net.zero_grad(set_to_none=True)

        result, self.parts = out_of_memory.in_parts(work, images, self.parts, go_back)
        self._fits = True
        return result


def gradients(
    model: nn.Module,
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    regime: Regime,
    rng: torch.Generator,
    parts: int,
) -> tuple[Tensor, Tensor]:
    """(mean loss, number of images classified correctly) of a batch, on the images as the regime
    wants them trained on; leaves the mean loss's gradient in the parameters.

    model: `net`, or its DistributedDataParallel. In parts, the gradients add up to the batch's,
    but BatchNorm in train mode normalises each part by itself.
    """
    net.zero_grad(set_to_none=True)
    total, right = torch.zeros(2, device=y.device).unbind()
    left = len(y)
    for images, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
        left -= len(labels)
        with lowered(x.device):
            attacked = _attacked(net, images, labels, regime, rng)
        with _exchange(model, now=left == 0):
            with lowered(x.device):
                logits = model(attacked)
            loss = F.cross_entropy(raised(logits), labels) * (len(labels) / len(y))
            loss.backward()
        total += loss.detach()
        right += (logits.argmax(1) == labels).sum()
    return total, right


def _exchange(model: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Processes exchange gradients once a batch: with its last part."""
    if now or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


def _attacked(net: nn.Module, x: Tensor, y: Tensor, regime: Regime, rng: torch.Generator) -> Tensor:
    """Images as the regime trains on them, BatchNorm in the mode that it names."""
    if regime.attack is None:
        return x
    with evaluating(net) if regime.attack_mode == "eval" else nullcontext():
        return perturb(net, x, y, regime.attack, rng)
