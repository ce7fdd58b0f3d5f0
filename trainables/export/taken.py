"""What is taken away: the network of a ticket or a transfer that the ledger holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import InputError
from search_spaces.spec import Dataset, Ticket, Transfer
from trainables.data import datasets
from trainables.data.images import Splits
from trainables.jobs.theta import network
from trainables.jobs.transfer import trained_network
from trainables.models.normalisation import statistics
from trainables.pruning.masks import Mask, counts, ones, rewind
from trainables.store.ledger import DamagedError, Ledger
from trainables.store.tensors import read
from trainables.training.evaluation import BATCH

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Taken:
    """A network in eval mode on the CPU, with its mask (empty: dense) and what came out of it.

    spec: the transfer that trained it; of a ticket, which is as it was before any transfer and has
    its source task's head, the ticket.
    """

    spec: Ticket | Transfer
    net: nn.Module
    mask: Mask
    result: dict[str, Any]

    @property
    def ticket(self) -> Ticket:
        return self.spec.ticket if isinstance(self.spec, Transfer) else self.spec

    @property
    def dataset(self) -> Dataset:
        """Whose classes it tells apart."""
        return self.spec.dataset if isinstance(self.spec, Transfer) else self.spec.theta.dataset

    @property
    def splits(self) -> Splits:
        return datasets.splits(self.dataset)

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """(mean, std) of pixels in [0, 1]: part of its forward pass."""
        return statistics(self.net)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it takes."""
        channels, height, width = self.images(1).shape[1:]
        return channels, height, width

    @property
    def kept(self) -> tuple[int, int]:
        """(kept, total) prunable weights."""
        return counts(self.mask or ones(self.net))

    def images(self, count: int) -> Tensor:
        """(count, C, H, W) test images, pixels in [0, 1], from the first on, again where there are
        fewer."""
        test = self.splits.test
        numbers = torch.arange(count) % len(test)
        return torch.cat([b.pixels() for b in test.stream(numbers.split(BATCH), None)])


def take(spec: Ticket | Transfer, ledger: Ledger) -> Taken:
    """The network of a finished ticket or transfer; of a ticket of level 0, theta. Raises
    InputError where the weights of a transfer were not kept, a file is not what was written, or it
    is no classifier."""
    try:
        return _taken(spec, ledger)
    except DamagedError as error:
        raise InputError(f"{error}: remove this folder and run the study again") from None


def _taken(spec: Ticket | Transfer, ledger: Ledger) -> Taken:
    ticket = spec.ticket if isinstance(spec, Transfer) else spec
    if isinstance(spec, Transfer) and spec.dataset.kind != "labels":
        raise InputError(
            f"{spec.dataset.title}: a detector, and only classifiers are taken: name its ticket"
        )
    mask = read(ledger.file(ticket, "mask.safetensors")) if ticket.level else {}
    if isinstance(spec, Transfer):
        try:
            net = trained_network(spec, ledger, CPU)
        except FileNotFoundError:
            raise InputError(
                f"{ledger.folder(spec)}: its weights were not kept: python -m tuner evidence --all "
                "trains again what has none, and keeps them"
            ) from None
        return Taken(spec, net, mask, ledger.result(spec))
    net = network(ticket.theta, CPU)
    net.load_state_dict(rewind(read(ledger.file(ticket.start, "weights.safetensors")), mask))
    # Of the dense network, what is known is known of its theta.
    return Taken(spec, net.eval(), mask, ledger.result(ticket if ticket.level else ticket.theta))


def decisions(run: Callable[[Tensor], Tensor], data: Splits, device: torch.device = CPU) -> Tensor:
    """(N,) the classes that `run`, images on a device to logits, gives the test images."""
    numbers = torch.arange(len(data.test)).split(BATCH)
    with torch.no_grad():
        batches = data.test.stream(numbers, None)
        return torch.cat([run(b.pixels().to(device)).argmax(1).cpu() for b in batches])
