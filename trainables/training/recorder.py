"""A training's steps: taken on its own tensors, or recorded over tensors that stay in place and
replayed. What a step does is one function, the same in both."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from search_spaces.regimes import Constant, Ema, Recipe, Regime
from search_spaces.spec import Augmentation
from trainables.data.images import Images, augment
from trainables.pruning.masks import ones
from trainables.runtime.capture import EAGER, capture, in_place
from trainables.runtime.compilation import compilation, compile_
from trainables.runtime.precision import precision
from trainables.training.step import bare, train_step
from trainables.training.tasks.classification import CLASSIFICATION
from trainables.training.tasks.task import Task
from trainables.training.workspace import Workspace, copy_all, tensors, workspace_for


class Steps(Protocol):
    """The steps of a training, epoch by epoch."""

    @property
    def execution(self) -> str:
        """How the latest step was executed: see runtime.capture."""

    def epoch(self, regime: Regime, rng: torch.Generator) -> AbstractContextManager["Totals"]:
        """Inside, `take` the steps of an epoch, which draw what a new `rng` would; afterwards, the
        training's own tensors hold what has become of them."""

    def take(self, batch: Images, lr: float, weight: float = 1.0) -> None:
        """One step on a batch; waits for nothing on the device. weight: see step.gradients."""


@dataclass(frozen=True)
class Totals:
    """Sums over an epoch's steps, as tensors without dimensions: of the images' losses, and of
    images classified correctly."""

    loss: Tensor
    right: Tensor

    @staticmethod
    def zero(device: torch.device) -> "Totals":
        return Totals(*torch.zeros(2, device=device).unbind())


def steps_of(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor],
    augmentation: Augmentation,
    recipe: Recipe,
    task: Task = CLASSIFICATION,
) -> Steps:
    """The steps of a training of `model` (a network or its DistributedDataParallel) for a task,
    with its optimiser, its mask's factors, the augmentation of its images and its recipe."""
    net = bare(model).train()
    reason = ""
    device = next(net.parameters()).device
    if in_place(device):
        place = None
        if model is not net:
            reason = ": several processes exchange gradients"
        elif not task.captured:
            reason = ": its steps wait for the device"
        elif compilation() != "off":
            reason = ": compiled kernels have graphs of their own"
        elif not isinstance(optimizer, torch.optim.SGD):
            reason = f": {recipe.optimizer}'s state is not kept in place"
        elif isinstance(recipe.averaging, Ema):
            reason = ": an average after each step is taken of the training's own weights"
        else:
            reason = ": the network holds what cannot be pickled"
            place = workspace_for(net, device, TrainingPlace, capture())
        if place is not None:
            assert isinstance(optimizer, torch.optim.SGD), "others have no place"
            return StepsInPlace(net, optimizer, kept, augmentation, place)
    if task.captured:
        compile_(net)
    return OwnSteps(model, optimizer, kept, augmentation, task, EAGER + reason)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor],
    rng: torch.Generator,
    totals: Totals,
    regime: Regime,
    augmentation: Augmentation,
    x: Tensor,
    y: Tensor,
    weight: float = 1.0,
    alpha: Tensor | None = None,
    task: Task = CLASSIFICATION,
) -> None:
    """One step on images x (N, C, H, W) in [0, 1] and y (N, ...), added to the totals."""
    x = augment(x, augmentation, rng)
    loss, right = train_step(model, optimizer, kept, x, y, regime, rng, weight, alpha, task)
    totals.loss.add_(loss * len(y))
    totals.right.add_(right)


class OwnSteps:
    """Steps on a training's own tensors."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        kept: Mapping[str, Tensor],
        augmentation: Augmentation,
        task: Task,
        execution: str,
    ) -> None:
        self.execution, self._task = execution, task
        self._model, self._optimizer = model, optimizer
        self._kept, self._augmentation = kept, augmentation

    @contextmanager
    def epoch(self, regime: Regime, rng: torch.Generator) -> Iterator[Totals]:
        totals = Totals.zero(rng.device)
        self._rng = rng
        self._work = partial(
            _step, self._model, self._optimizer, self._kept, rng, totals, regime,
            self._augmentation, task=self._task,
        )  # fmt: skip
        yield totals

    def take(self, batch: Images, lr: float, weight: float = 1.0) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._work(batch.pixels(self._rng), batch.y, weight=weight)


class TrainingPlace(Workspace):
    """Where trainings of a network take steps in place: besides the network, its momentum by
    parameter, factors of a mask over all that can be pruned, and what changes from step to step."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__(net, device)
        self.net.train()
        weights = dict(self.net.named_parameters())
        self.momentum = [torch.zeros_like(p, requires_grad=False) for p in weights.values()]
        # Of the parameters' type: all of them are then multiplied at once.
        self.kept = {
            name: torch.ones_like(weights[name], requires_grad=False) for name in ones(net)
        }
        self.totals = Totals.zero(self.device)
        self.lr, self.alpha = torch.zeros(2, device=self.device).unbind()

    @property
    def state(self) -> list[Tensor]:
        return [*super().state, *self.momentum, self.totals.loss, self.totals.right]

    def step(self, regime: Regime, augmentation: Augmentation) -> Callable[[Tensor, Tensor], None]:
        """One step of a regime, to be recorded."""
        return partial(
            _step, self.net, self._sgd(regime.recipe), self.kept, self.rng, self.totals, regime,
            augmentation, alpha=self.alpha,
        )  # fmt: skip

    def _sgd(self, recipe: Recipe) -> torch.optim.SGD:
        """The recipe's optimiser over what is in place."""
        fused = self.device.type == "cuda"  # The others read a rate that is a tensor.
        parameters, decay = list(self.net.parameters()), recipe.weight_decay
        optimizer = torch.optim.SGD(
            parameters, self.lr, recipe.momentum, weight_decay=decay, fused=fused or None
        )
        if recipe.momentum:
            for parameter, buffer in zip(parameters, self.momentum, strict=True):
                optimizer.state[parameter]["momentum_buffer"] = buffer
        return optimizer


class StepsInPlace:
    """Steps of a training of `net` in a place that other trainings use too: in between epochs,
    everything is back in the training's own tensors."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.SGD,
        kept: Mapping[str, Tensor],
        augmentation: Augmentation,
        place: TrainingPlace,
    ) -> None:
        self.execution = EAGER
        self._net, self._optimizer = net, optimizer
        self._kept, self._augmentation, self._place = kept, augmentation, place

    @contextmanager
    def epoch(self, regime: Regime, rng: torch.Generator) -> Iterator[Totals]:
        place = self._place
        with place.lock:
            self._load()
            place.rng.manual_seed(rng.initial_seed())
            for total in (place.totals.loss, place.totals.right):
                total.zero_()
            if regime.attack:
                place.alpha.fill_(regime.attack.alpha)
            self._regime = _without_what_changes(regime)
            yield place.totals
            self._store(regime.recipe)

    def take(self, batch: Images, lr: float, weight: float = 1.0) -> None:
        place = self._place
        x = batch.pixels(place.rng)
        key = (self._regime, self._augmentation, precision())
        recording = place.recording(key, x, lambda: place.step(self._regime, self._augmentation))
        recording.x.copy_(x)
        recording.y.copy_(batch.y)
        place.lr.fill_(lr)
        recording.replay()
        self.execution = recording.execution

    def _load(self) -> None:
        place = self._place
        place.load(self._net)
        for parameter, buffer in zip(self._net.parameters(), place.momentum, strict=True):
            own = self._optimizer.state[parameter].get("momentum_buffer")
            buffer.zero_() if own is None else buffer.copy_(own)
        for name, factors in place.kept.items():
            factors.copy_(self._kept[name]) if name in self._kept else factors.fill_(1)

    def _store(self, recipe: Recipe) -> None:
        place = self._place
        copy_all(tensors(self._net), tensors(place.net))
        if recipe.momentum:
            for parameter, buffer in zip(self._net.parameters(), place.momentum, strict=True):
                self._optimizer.state[parameter]["momentum_buffer"] = buffer.clone()


def _without_what_changes(regime: Regime) -> Regime:
    """A regime without what changes from step to step or matters between epochs: those that agree
    in the rest have steps in common."""
    recipe = regime.recipe.model_copy(
        update={
            **{"epochs": 1, "lr": 1.0, "schedule": Constant(), "validate_from": 1},
            **{"warmup": 0, "averaging": None},
        }
    )
    awp = regime.awp and regime.awp.model_copy(update={"start": 1})
    attack = regime.attack and regime.attack.model_copy(update={"alpha": 0.0})
    return regime.model_copy(
        update={"recipe": recipe, "attack": attack, "containment": None, "awp": awp}
    )
