"""How many trainings side by side get most out of a machine or a GPU: measured, not guessed."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from trainables.bench.interleaving import Quartiles, interleave, quartiles, ratios
from trainables.bench.measure import BenchSettings, Process, contenders
from trainables.bench.ours import CASES
from trainables.bench.rows import NETS, OURS

_ON_A_GPU = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Crowd:
    """So many trainings side by side: images a second of all together, and over one alone."""

    net: str
    copies: int
    rate: Quartiles
    gain: Quartiles


def sizes(settings: BenchSettings, cores: int) -> list[int]:
    """The crowds that are tried: on a CPU up to one for each core and one more."""
    if settings.device == "cuda":
        return list(_ON_A_GPU)
    most = max(1, cores // settings.threads)
    return sorted({1, *(n for n in (2, 4, 8, 16, 32, 64) if n < most), most, most + 1})


def run(settings: BenchSettings, say: Callable[[str], None]) -> list[Crowd]:
    """Adversarial steps of the quickstart's network and ResNet-20, in crowds of each size."""
    crowds = sizes(settings, os.cpu_count() or 1)
    found = []
    for net in NETS[:2]:
        batch = CASES[net].batch
        work = {"case": net, "operation": "adversarial", "batch": batch, "images": batch}
        with ExitStack() as stack:
            copies = [
                stack.enter_context(contenders([OURS], settings))[OURS] for _ in range(crowds[-1])
            ]
            say(f"packing {net}: {', '.join(map(str, crowds))} side by side ...")
            turns = {str(n): partial(together, copies[:n], work) for n in crowds}
            rates = interleave(turns, settings.seconds)
        found += [
            Crowd(net, n, quartiles(rates[str(n)]), quartiles(ratios(rates[str(n)], rates["1"])))
            for n in crowds
        ]
    return found


def together(copies: Sequence[Process], work: dict[str, object]) -> float:
    """Images a second, by the clock on the wall, of all copies at work at once."""
    started = time.perf_counter()
    for copy in copies:
        copy.put(work)
    count = sum(copy.get()["count"] for copy in copies)
    return count / (time.perf_counter() - started)


def lines(crowds: Sequence[Crowd], settings: BenchSettings) -> list[str]:
    """A line for each crowd, and what to say to `run` for the best."""
    text = [
        f"{crowd.net}: {crowd.copies} side by side: {crowd.rate.median:,.0f} images/s, "
        f"{crowd.gain.median:.2f} ({crowd.gain.low:.2f}-{crowd.gain.high:.2f}) x one alone"
        for crowd in crowds
    ]
    for net in dict.fromkeys(crowd.net for crowd in crowds):
        best = max((c for c in crowds if c.net == net), key=lambda c: c.gain.median)
        flag = f"--cpus-per-trial {settings.threads}"
        if settings.device == "cuda":
            # Ray takes fractions; rounding down keeps the sum below one.
            flag = f"--gpus-per-trial {int(100 / best.copies) / 100:g}"
        text.append(f"{net}: most with {best.copies} side by side: {flag}")
    return text
