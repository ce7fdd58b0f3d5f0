"""How many trainings side by side get most out of a machine or a GPU: measured, not guessed."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Literal

from trainables.bench.interleaving import Quartiles, interleave, quartiles, ratios
from trainables.bench.measure import BenchSettings, Process, contenders
from trainables.bench.ours import CASES
from trainables.bench.rows import NETS, OURS

_ON_A_GPU = (1, 2, 4, 8)
# Batches of a turn: on a GPU, where one takes milliseconds, enough to be timed.
_BATCHES = {"cpu": 1, "cuda": 8}
_MPS = "nvidia-cuda-mps-control"

Sharing = Literal["processes", "streams", "mps", "batch"]
"""How trainings share a device: each a process; each a thread of one process with a CUDA stream of
its own; each a process, their kernels joined by NVIDIA's Multi-Process Service. batch: no sharing,
but one training with a batch as many times as large, which is what stacking their programs into one
could reach at best."""


@dataclass(frozen=True)
class Crowd:
    """So many trainings side by side: images a second of all together, and over one alone."""

    net: str
    sharing: Sharing
    copies: int
    rate: Quartiles
    gain: Quartiles


def sizes(settings: BenchSettings, cores: int) -> list[int]:
    """The crowds that are tried: on a CPU up to one for each core and one more."""
    if settings.device == "cuda":
        return list(_ON_A_GPU)
    most = max(1, cores // settings.threads)
    return sorted({1, *(n for n in (2, 4, 8, 16, 32, 64) if n < most), most, most + 1})


def run(settings: BenchSettings, say: Callable[[str], None]) -> Iterator[Crowd]:
    """Adversarial steps of the quickstart's network and ResNet-20, in crowds of each size; what
    shares a device in each way is measured in turns with one training alone."""
    crowds = sizes(settings, os.cpu_count() or 1)
    nets = [net for net in NETS[:3] if any(word in net for word in settings.only)] or NETS[:2]
    for net in nets:
        batch = CASES[net].batch
        images = batch * _BATCHES[settings.device]
        work = {"case": net, "operation": "adversarial", "batch": batch, "images": images}
        for sharing in _ways(settings, say):
            say(f"packing {net}, {sharing}: {', '.join(map(str, crowds))} side by side ...")
            with _turns(sharing, crowds, work, settings) as turns:
                rates = interleave(turns, settings.row_seconds)
            for copies in crowds[sharing != "processes" :]:
                rate = rates[f"{sharing} {copies}"]
                gain = quartiles(ratios(rate, rates["processes 1"]))
                yield Crowd(net, sharing, copies, quartiles(rate), gain)


def _ways(settings: BenchSettings, say: Callable[[str], None]) -> list[Sharing]:
    if settings.device == "cpu":
        return ["processes"]
    if shutil.which(_MPS) is None:
        say(f"mps: left out: there is no {_MPS}")
        return ["processes", "streams", "batch"]
    return ["processes", "streams", "mps", "batch"]


@contextmanager
def _turns(
    sharing: Sharing, crowds: Sequence[int], work: dict[str, object], settings: BenchSettings
) -> Iterator[dict[str, Callable[[], float]]]:
    """One training alone, and crowds of each size that share a device in this way."""
    with ExitStack() as stack:

        def started(environment: dict[str, str]) -> Process:
            return stack.enter_context(contenders([OURS], settings, environment))[OURS]

        environment = dict(os.environ)
        alone = started(environment)
        turns: dict[str, Callable[[], float]] = {"processes 1": partial(together, [alone], work)}
        if sharing == "mps":
            environment |= stack.enter_context(_multi_process_service())
        if sharing in ("processes", "mps"):
            first = [alone] if sharing == "processes" else [started(environment)]
            copies = first + [started(environment) for _ in range(crowds[-1] - 1)]
            for n in crowds[1:]:
                turns[f"{sharing} {n}"] = partial(together, copies[:n], work)
        else:
            for n in crowds[1:]:
                # As many times the batch, and no more steps; or as many trainings.
                larger = {
                    "batch": n * int(str(work["batch"])),
                    "images": n * int(str(work["images"])),
                }
                more = larger if sharing == "batch" else {"kind": "streams", "copies": n}
                turns[f"{sharing} {n}"] = partial(
                    together, [started(environment)], {**work, **more}
                )
        yield turns


@contextmanager
def _multi_process_service() -> Iterator[dict[str, str]]:
    """Inside, processes with this environment share the GPU through a service of their own."""
    with TemporaryDirectory() as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        environment = {**os.environ, **own}
        subprocess.run([_MPS, "-d"], env=environment, check=True, timeout=30)
        try:
            yield own
        finally:
            subprocess.run([_MPS], input="quit\n", text=True, env=environment, timeout=60)


def together(copies: Sequence[Process], work: dict[str, object]) -> float:
    """Images a second, by the clock on the wall, of all copies at work at once."""
    started = time.perf_counter()
    for copy in copies:
        copy.put(work)
    count = sum(copy.get()["count"] for copy in copies)
    return count / (time.perf_counter() - started)


def line(crowd: Crowd) -> str:
    """A crowd in words."""
    return (
        f"{crowd.net}: {crowd.copies} side by side ({crowd.sharing}): "
        f"{crowd.rate.median:,.0f} images/s, {crowd.gain.median:.2f} "
        f"({crowd.gain.low:.2f}-{crowd.gain.high:.2f}) x one alone"
    )


def advice(crowds: Sequence[Crowd], settings: BenchSettings) -> list[str]:
    """What to say to `run` for the best crowd of processes of each network."""
    text = []
    for net in dict.fromkeys(crowd.net for crowd in crowds):
        own = [c for c in crowds if c.net == net and c.sharing in ("processes", "mps")]
        best = max(own, key=lambda c: c.gain.median)
        flag = f"--cpus-per-trial {settings.threads}"
        if settings.device == "cuda":
            # Ray takes fractions; rounding down keeps the sum below one.
            flag = f"--gpus-per-trial {int(100 / best.copies) / 100:g}"
        text.append(f"{net}: most with {best.copies} {best.sharing} side by side: {flag}")
    return text
