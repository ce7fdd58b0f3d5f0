"""What steps cost on this machine: the training loop and the evaluation themselves, timed on random
images.

`python -m trainables.estimate.timing DEVICE THREADS STEPS` takes a JSON list of steps and prints a
line for each, [seconds, parameters of its network]. It is a process of its own, so that several can
be timed side by side, and who asks need not load torch.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from search_spaces.regimes import Recipe, Regime
from trainables.data.images import Splits
from trainables.estimate.steps import Step
from trainables.runtime.allocation import keep_freed
from trainables.training.loop import fit
from trainables.training.tasks.named import TASKS

SECONDS_A_STEP = 0.8
# A batch of more pixels takes in proportion longer, and might not fit into memory.
PIXELS = {"cpu": 2**14, "cuda": 2**21}
_FEWEST, _CLASSES, _MEAN, _STD = 2, 10, 0.5, 0.25


def seconds(step: Step, device: torch.device) -> tuple[float, int]:
    """(seconds of one step, parameters of its network). The first step warms up: it counts only
    where it takes all the time there is."""
    mean, std = ([value] * step.channels for value in (_MEAN, _STD))
    task = TASKS[step.kind]
    net = task.network(step.model, _CLASSES, mean, std, seed=0, size=step.size).to(device)
    count = max(_FEWEST, min(step.images, PIXELS[device.type] // step.size**2))
    pixels = (count, step.channels, step.size, step.size)
    x = torch.randint(0, 256, pixels, dtype=torch.uint8, device=device)
    images = task.made_up(net, x)
    if step.regime is None:
        work: Callable[[], Any] = partial(task.evaluate, net, images, step.attack)
    else:
        data = Splits(images, images, images, _CLASSES, tuple(mean), tuple(std))
        work = partial(next, fit(net, data, _endless(step.regime, count), seed=0, task=task))
    times: list[float] = []
    while sum(times) < SECONDS_A_STEP:
        before = clock(device)
        work()
        times.append(clock(device) - before)
    parameters = sum(p.numel() for p in net.parameters())
    return step.images / count * median(times[1:] or times), parameters


def _endless(regime: Regime, images: int) -> Regime:
    """A regime whose every epoch is one step on so many images."""
    longest = {"epochs": 100_000, "batch_size": images}
    recipe = Recipe.model_validate({**regime.recipe.model_dump(), **longest})
    return regime.model_copy(update={"recipe": recipe})


def clock(device: torch.device) -> float:
    """Seconds, once the device is done with all it was given. On one CPU thread the processor's
    own time: other programs' work is not in it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def main() -> None:
    device, threads, questions = sys.argv[1:]
    keep_freed()
    torch.set_num_threads(int(threads))
    for question in json.loads(questions):
        answer = seconds(Step.model_validate(question), torch.device(device))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
