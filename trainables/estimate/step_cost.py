"""What a step costs on this machine: a few timed steps of each kind, on random images.

`python -m trainables.step_cost DEVICE THREADS` answers each kind of step that it reads, one JSON
line for one JSON line: {"step": Step, "seconds": time to spend}. It is a process of its own so that
several can be timed side by side, and so that who asks need not load torch.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from search_spaces.regimes import Attack
from trainables.data.images import pixels
from trainables.estimate.work import Net, Step
from trainables.models import resnets
from trainables.pruning.masks import apply_, factors, ones
from trainables.runtime.allocation import keep_freed
from trainables.training.attacks import perturb

# A batch as small as this shows what a larger one will cost, before it is tried.
_FEW, _GROWTH = 4, 4
_LEAST_STEPS = 3
_CLASSES = 10
_ATTACK = Attack(kind="pgd", epsilon=0.03, alpha=0.03)


def cost(step: Step, device: torch.device, seconds: float) -> dict[str, float]:
    """Times steps of one kind for about `seconds`, at least three after two to warm up.

    seconds: the median of a step; spread: half the distance between its quartiles, as a share of
    it; parameters, prunable: numbers of weights; images: in the batches timed. Batches grow from a
    small one while a larger one still fits `seconds` and the memory; what the step's own batch
    would take is then in proportion.
    """
    network = _built(step.net, device)
    parameters = sum(p.numel() for p in network.parameters())
    prunable = sum(m.numel() for m in ones(network).values())
    if step.operation in ("judge", "judge_attack"):
        network = resnets.folded(network.eval())
    batch = min(step.batch, _FEW)
    times = _times(_operation(step, network, batch, device), device, 0)
    while batch < step.batch:
        larger = min(step.batch, _GROWTH * batch)
        if min(times) * larger / batch > seconds / _LEAST_STEPS:
            break
        try:
            times = _times(_operation(step, network, larger, device), device, 0)
        except torch.OutOfMemoryError:
            break
        batch = larger
    if sum(times) < seconds:
        times += _times(_operation(step, network, batch, device), device, seconds - sum(times))
    median = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    return {
        "seconds": step.batch / batch * median,
        "spread": (high - low) / 2 / median,
        "images": batch,
        "parameters": parameters,
        "prunable": prunable,
    }


def _built(net: Net, device: torch.device) -> nn.Module:
    mean, std = [0.5] * net.channels, [0.25] * net.channels
    return resnets.build(net.model, _CLASSES, mean, std, seed=0).to(device)


def _operation(step: Step, net: nn.Module, batch: int, device: torch.device) -> Callable[[], Any]:
    """One step of the kind, on `batch` random images."""
    shape = (batch, step.net.channels, step.net.size, step.net.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    x, y = pixels(images), torch.randint(0, _CLASSES, (batch,), device=device)
    rng = torch.Generator(device).manual_seed(0)
    kept = factors(net, ones(net))
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, 0.9, weight_decay=5e-4)

    def train() -> None:
        loss = F.cross_entropy(net(pixels(images)), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        apply_(net, kept)

    def attack() -> None:
        perturb(net, x, y, _ATTACK, rng)

    def judge() -> None:
        with torch.no_grad():
            net(pixels(images)).argmax(1)

    net.train(step.operation in ("train", "attack"))
    return {"train": train, "attack": attack, "judge_attack": attack, "judge": judge}[
        step.operation
    ]


def _times(operation: Callable[[], Any], device: torch.device, seconds: float) -> list[float]:
    """Seconds of single steps, after two to warm up."""
    for _ in range(2):
        operation()
    times: list[float] = []
    started = time.monotonic()
    while len(times) < _LEAST_STEPS or time.monotonic() - started < seconds:
        before = clock(device)
        operation()
        times.append(clock(device) - before)
    return times


def clock(device: torch.device) -> float:
    """Seconds, once the device is done with all it was given. On one CPU thread the processor's
    own time: other programs' work is not in it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def main() -> None:
    device, threads = torch.device(sys.argv[1]), int(sys.argv[2])
    keep_freed()
    torch.set_num_threads(threads)
    for line in sys.stdin:
        asked = json.loads(line)
        found = cost(Step.model_validate(asked["step"]), device, asked["seconds"])
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
