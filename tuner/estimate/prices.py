"""What steps cost on this machine: each kind timed once, in processes of their own, and kept in the
user's cache."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from search_spaces.keys import key
from trainables.estimate.steps import Step
from tuner.cluster.capacity import Capacity

# More copies than this show no further strain on memory.
_MOST_COPIES = 8


class Price(NamedTuple):
    """A step's seconds, and the number of weights of its network."""

    seconds: float
    parameters: int


Prices = dict[Step, Price]


@dataclass(frozen=True)
class Machine:
    """What prices depend on, the kind of step apart. copies: transfers that share the CPU's memory
    or a GPU, and are timed side by side."""

    processor: str
    cpus: int
    gpus: tuple[str, ...]
    threads: int
    copies: int
    torch: str

    @property
    def title(self) -> str:
        """What people call it."""
        if self.gpus:
            return f"{len(self.gpus)} x {self.gpus[0]}"
        return f"{self.processor}, {self.cpus} cores"

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


def machine(capacity: Capacity) -> Machine:
    """This machine, for trials of the given size."""
    gpus = gpu_names() if capacity.trial_gpus else ()
    copies = capacity.trials // len(gpus) if gpus else capacity.trials
    return Machine(
        processor=_processor(),
        cpus=int(capacity.cpus),
        gpus=gpus,
        threads=max(1, int(capacity.trial_cpus)),
        copies=max(1, min(copies, _MOST_COPIES)),
        torch=version("torch"),
    )


@cache
def gpu_names() -> tuple[str, ...]:
    """The GPUs that torch would see, asked without loading torch."""
    tool, visible = shutil.which("nvidia-smi"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if tool is None or visible == "":
        return ()
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    if visible is not None:
        command.append(f"--id={visible}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def known(steps: Iterable[Step], where: Machine) -> Prices:
    """The cached prices of the given steps; those never timed here are left out."""
    cached = _cached(where)
    return {step: cached[key(step)] for step in steps if key(step) in cached}


def timed(steps: Iterable[Step], where: Machine) -> Prices:
    """The prices of steps, timed now and kept. One that cannot be timed (its memory does not
    suffice) is left out, as are those after it."""
    steps = list(steps)
    questions = json.dumps([step.model_dump(mode="json") for step in steps])
    path = os.pathsep.join(filter(None, (_home(), os.environ.get("PYTHONPATH"))))
    threads = str(where.threads)
    command = [sys.executable, "-m", "trainables.estimate.timing", where.device, threads, questions]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(where.copies)
    ]
    try:
        outputs = [process.communicate()[0].splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()
    answers = (list(map(json.loads, lines)) for lines in zip(*outputs, strict=False))
    prices = {
        step: Price(fmean(seconds for seconds, _ in answer), answer[0][1])
        for step, answer in zip(steps, answers, strict=False)
    }
    _keep({**_cached(where), **{key(step): price for step, price in prices.items()}}, where)
    return prices


def _home() -> str:
    return str(Path(__file__).parents[2])


def _file(where: Machine) -> Path:
    from platformdirs import user_cache_path

    name = hashlib.sha256(json.dumps(asdict(where)).encode()).hexdigest()[:16]
    return user_cache_path("double-win-tickets") / f"steps-{name}.json"


def _cached(where: Machine) -> dict[str, Price]:
    """Prices by the step's key; none where the file is absent or damaged."""
    try:
        content = json.loads(_file(where).read_text(encoding="utf-8"))
        return {name: Price(*price) for name, price in content["prices"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _keep(prices: dict[str, Price], where: Machine) -> None:
    path = _file(where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": asdict(where), "prices": prices}), encoding="utf-8")
    except OSError:
        pass  # A home that cannot be written costs no more than timing again.
