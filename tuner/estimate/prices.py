"""What steps cost on this machine: measured once in processes of their own, kept in the cache."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from search_spaces.keys import key
from trainables.estimate.work import Step
from tuner.cluster.capacity import Capacity

SECONDS_A_STEP = 0.6
SECONDS_IN_ALL = 90.0
# More copies than this show no further strain on memory.
_MOST_COPIES = 8


@dataclass(frozen=True)
class Price:
    """A step's seconds (median), its relative spread, and the numbers of weights of its network."""

    seconds: float
    spread: float
    images: int
    parameters: int
    prunable: int


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


def cores_busy() -> float:
    """Cores that other programs want at this moment; 0 where the system does not say."""
    wanting = []
    for _ in range(10):
        try:
            running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3]
        except OSError:
            return 0.0
        # This process is running too, as it asks.
        wanting.append(int(running.split("/")[0]) - 1)
        time.sleep(0.03)
    return fmean(wanting)


def disturbed(where: Machine, busy: float) -> bool:
    """Do others want so many cores that work on the CPU suffers?"""
    return where.device == "cpu" and busy > 0.5 * where.cpus


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cached(where: Machine, folder: Path | None = None) -> dict[str, Price]:
    """Prices known from earlier, by the step's key; none where the file is absent or damaged."""
    try:
        content = json.loads(_file(where, folder).read_text(encoding="utf-8"))
        return {name: Price(**price) for name, price in content["prices"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def known(steps: Iterable[Step], where: Machine, folder: Path | None = None) -> Prices:
    """The cached prices of the given steps; those never measured are left out."""
    there = cached(where, folder)
    return {step: there[key(step)] for step in steps if key(step) in there}


def measured(
    steps: Iterable[Step], where: Machine, say: Callable[[str], None], folder: Path | None = None
) -> Prices:
    """Prices of all steps that can be measured in SECONDS_IN_ALL; known ones are not measured anew.

    Every price goes to the cache at once, so that what is cut short goes on where it was.
    """
    steps = list(steps)
    found = known(steps, where, folder)
    todo = [step for step in steps if step not in found]
    if not todo:
        return found
    say(f"measuring this machine: {len(todo)} kinds of step ...")
    by_key = cached(where, folder)
    started = time.monotonic()
    with _benches(where) as benches:
        for step in todo:
            if time.monotonic() - started > SECONDS_IN_ALL:
                say(f"not all measured in {SECONDS_IN_ALL:.0f} s: plan again to go on")
                break
            price = _ask(benches, step)
            if price is None:
                say(f"could not be measured: {_title(step)}")
                break
            by_key[key(step)] = found[step] = price
            _keep(by_key, where, folder)
    return found


def _title(step: Step) -> str:
    net = step.net
    return f"{step.operation} {net.model.arch} at {net.size} pixels, batch {step.batch}"


@contextmanager
def _benches(where: Machine) -> Iterator[list[subprocess.Popen[str]]]:
    """As many processes as transfers run side by side, ready to time steps."""
    home = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, (str(home), os.environ.get("PYTHONPATH"))))
    threads = str(where.threads)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads}
    command = [sys.executable, "-m", "trainables.estimate.step_cost", where.device, threads]
    benches = [
        subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(where.copies)
    ]
    try:
        yield benches
    finally:
        for bench in benches:
            bench.kill()
            bench.communicate()


def _ask(benches: list[subprocess.Popen[str]], step: Step) -> Price | None:
    """One step timed in all processes at once: their mean; None if any of them died."""
    question = {"step": step.model_dump(mode="json"), "seconds": SECONDS_A_STEP}
    try:
        for bench in benches:
            assert bench.stdin is not None, "it is a pipe"
            bench.stdin.write(json.dumps(question) + "\n")
            bench.stdin.flush()
        answers = [json.loads(bench.stdout.readline()) for bench in benches if bench.stdout]
    except (OSError, ValueError):
        return None
    seconds, spread = (
        sum(answer[name] for answer in answers) / len(answers) for name in ("seconds", "spread")
    )
    return Price(**{**answers[0], "seconds": seconds, "spread": spread})


def _file(where: Machine, folder: Path | None) -> Path:
    if folder is None:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "double-win-tickets"
    name = hashlib.sha256(json.dumps(asdict(where), sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"steps-{name}.json"


def _keep(by_key: dict[str, Price], where: Machine, folder: Path | None) -> None:
    content = {
        "machine": asdict(where),
        "prices": {name: asdict(price) for name, price in by_key.items()},
    }
    path = _file(where, folder)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(staging, path)
    except OSError:
        pass  # A home that cannot be written costs no more than measuring again.
