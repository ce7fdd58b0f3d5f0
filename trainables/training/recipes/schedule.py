"""Learning rates over a training."""

import math

from search_spaces.regimes import Constant, Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of optimiser step `step` (from 0), warm-up included."""
    rising = recipe.warmup * steps_per_epoch
    rate = _scheduled(recipe, step, steps_per_epoch)
    return rate * (step + 1) / rising if step < rising else rate


def at_its_end(recipe: Recipe) -> Recipe:
    """The recipe with the last learning rate of its schedule, constant or multistep, throughout."""
    last = learning_rate(recipe, recipe.epochs - 1, 1)
    return recipe.model_copy(update={"lr": last, "schedule": Constant(), "warmup": 0})


def _scheduled(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    schedule = recipe.schedule
    total = recipe.epochs * steps_per_epoch
    if schedule.kind == "multistep":
        passed = sum(step >= epoch * steps_per_epoch for epoch in schedule.milestones)
        return recipe.lr * schedule.gamma**passed
    if schedule.kind == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * step / total))
    if schedule.kind == "one_cycle":
        done, peak = (step + 1) / (total + 1), schedule.warmup
        return recipe.lr * min(done / peak, (1 - done) / (1 - peak))
    return recipe.lr
