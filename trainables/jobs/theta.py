"""A theta: pre-trained, or read from published weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from search_spaces.networks import Checkpoint
from search_spaces.regimes import Regime
from search_spaces.spec import Theta, Ticket
from trainables.checkpoints import formats
from trainables.data import datasets
from trainables.jobs.outcome import Training, outcome, outcomes
from trainables.models import networks
from trainables.pruning.masks import State
from trainables.runtime.seeding import derived
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.store.ledger import Ledger
from trainables.store.records import now, provenance
from trainables.store.tensors import to_bytes
from trainables.training.evaluation import evaluate_test
from trainables.training.loop import Epoch, Progress, fit, snapshot
from trainables.training.ranks import Shard


@dataclass(frozen=True)
class Worker:
    """One process of a chain: where results go, which share of each batch, on which device."""

    ledger: Ledger
    shard: Shard
    device: torch.device


def make_theta(spec: Theta, worker: Worker) -> State:
    """Makes a theta, writes it to the ledger and returns its weights.

    Raises InputError for published weights that do not fit the network, FloatingPointError for a
    training that diverged before its first validated state.
    """
    pretraining = spec.pretraining
    if pretraining.load is not None:
        return _load(spec, pretraining.load, worker)
    assert pretraining.train is not None, "the spec demands one of the two"
    return _pretrain(spec, pretraining.train, worker)


def _load(spec: Theta, checkpoint: Checkpoint, worker: Worker) -> State:
    """Reads published weights, writes them with their scores on the source's validation images,
    and returns them. Raises InputError for weights that do not fit the network."""
    started = now()
    net = network(spec, worker.device)
    state = formats.state_for(checkpoint, spec.model, net)
    if worker.shard.rank == 0:
        net.load_state_dict(state)
        result = {
            "state": "complete",
            **judged(spec, net, worker),
            **provenance(started, worker.device, worker.shard.world),
        }
        worker.ledger.write(spec, result, {"weights.safetensors": to_bytes(state)})
    return state


def _pretrain(spec: Theta, regime: Regime, worker: Worker) -> State:
    """Trains a theta, writes its best state by validation with its scores, and returns it. One that
    diverges counts by its best state before."""
    started = now()
    net = network(spec, worker.device)
    checkpoint = checkpoint_of(spec, worker)
    reached = outcome(_training(net, spec, regime, worker), regime, checkpoint)
    best = reached.best
    if best is None:
        raise FloatingPointError(
            f"pre-training {reached.reason}, before its first validation: lower lr; no ticket "
            "starts from it"
        )
    if worker.shard.rank == 0:
        net.load_state_dict(best.state)
        result = {
            "state": reached.state,
            **judged(spec, net, worker),
            "best_epoch": best.epoch,
            "epochs": reached.records,
            **({"reason": reached.reason} if reached.reason else {}),
            **provenance(started, worker.device, worker.shard.world, reached.records),
        }
        worker.ledger.write(spec, result, {"weights.safetensors": to_bytes(best.state)})
        checkpoint.remove()
    return best.state


def judged(spec: Theta, net: nn.Module, worker: Worker) -> dict[str, Any]:
    """The part of a theta's result that its evaluation decides: the network's scores on the
    source's test images or, of published weights, which may have been trained on these, on its
    validation images."""
    data = datasets.splits_on(spec.dataset, worker.device)
    loaded = spec.pretraining.load is not None
    view, images = ("source_val", data.val) if loaded else ("test", data.test)
    return {view: evaluate_test(net, images, spec.evaluation).scores.model_dump()}


def _training(net: nn.Module, spec: Theta, regime: Regime, worker: Worker) -> Training:
    def train(resume: Progress | None) -> Iterator[Epoch]:
        return fit(
            distributed(net, worker),
            datasets.splits_on(spec.dataset, worker.device),
            regime,
            spec.seed,
            evaluation=spec.evaluation,
            augmentation=spec.dataset.augment,
            shard=worker.shard,
            resume=resume,
        )

    return train


def after_epoch(spec: Theta, epoch: int, worker: Worker) -> tuple[State, bool]:
    """(weights after an epoch of a theta's pre-training, 0 being its initialisation; is it the
    pre-training that made theta, by its losses bit for bit?). They are not kept with a theta: the
    epochs up to there are trained again, and come out the same on the same kind of machine. Raises
    FloatingPointError where the pre-training has ended before."""
    regime = spec.pretraining.train
    assert regime is not None, "the study demands it for late rewinding"
    net, losses = network(spec, worker.device), list[float]()
    for reached in outcomes(_training(net, spec, regime, worker), regime) if epoch else ():
        losses = [record["loss"] for record in reached.records]
        if len(losses) == epoch:
            break
        if reached.ended:
            raise FloatingPointError(
                f"rewind: the pre-training ended in epoch {len(losses)}: lower rewind_epoch"
            )
    then = [record["loss"] for record in worker.ledger.result(spec)["epochs"]]
    return snapshot(net), losses == then[:epoch]


def checkpoint_of(spec: Theta | Ticket, worker: Worker) -> TrainingCheckpoint:
    """Where the training behind a result keeps its progress; the first process writes it."""
    return TrainingCheckpoint(worker.ledger.unfinished(spec), writes=worker.shard.rank == 0)


def network(spec: Theta, device: torch.device) -> nn.Module:
    """The network of a theta as it is initialised, on a device."""
    data = datasets.splits(spec.dataset)
    own = spec.model.normalisation
    mean, std = (own.mean, own.std) if own else (data.mean, data.std)
    seed, size = derived(spec.seed, "init"), spec.dataset.size
    net = networks.build(spec.model, data.classes, mean, std, seed, size)
    return net.to(device)


def shape(spec: Theta) -> tuple[int, int, int]:
    """(channels, height, width) of a theta's images."""
    size = spec.dataset.size
    return len(datasets.splits(spec.dataset).mean), size, size


def distributed(net: nn.Module, worker: Worker) -> nn.Module:
    """The network as one of a chain's processes trains it."""
    if worker.shard.world == 1:
        return net
    return DistributedDataParallel(net)
