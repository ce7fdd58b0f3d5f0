"""What a study costs beyond its trainings, as it grows.

Studies of more and more transfers that hardly train go through the commands that a user types, each
command a process of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from search_spaces.errors import InputError
from trainables.bench.table import aligned

# Two levels in two regimes: four transfers a seed, of two steps on 64 tiny images each.
_STUDY = """
name: growth
source:
  dataset: {name: mnist-mini, size: 8, limit: 64}
  model: {arch: resnet8, width: 4}
  pretrainings:
    standard: {train: {recipe: &recipe {epochs: 1, batch_size: 32, lr: 0.05}}}
pruning:
  one-shot: {method: one_shot, levels: [1]}
downstream:
  - dataset: {name: digits, size: 8, limit: 64}
    levels: [0, 1]
    seeds: [0]
    regimes:
      standard: {recipe: *recipe}
      adversarial: {recipe: *recipe, attack: &pgd {kind: pgd, steps: 1, epsilon: 0.1, alpha: 0.1}}
evaluation: {attack: *pgd}
"""
_A_SEED = 4
# Seconds between two looks at a command's memory.
_GLANCE = 0.05
_OF_STUDY = ("study.yaml", "--storage", "results")
COMMANDS = {
    "plan": ("tuner", "plan", *_OF_STUDY, "--no-measure"),
    "run": ("tuner", "run", *_OF_STUDY),
    "status": ("tuner", "status", *_OF_STUDY),
    "run again": ("tuner", "run", *_OF_STUDY),
    "sync anew": ("tuner", "sync", *_OF_STUDY),
    "extreme": ("analysis", "extreme", "--study", "growth"),
}
"""In this order: run again finds all complete, sync anew writes into an empty MLflow store."""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds by the clock, seconds of processor time (of what it started and
    waited for, too), and its own memory at most, in bytes; 0 where the system does not tell."""

    seconds: float
    processor: float
    memory: int


Grown = Mapping[int, Mapping[str, Cost]]
"""Transfers of a study -> command -> its cost."""


def run(sizes: Sequence[int], say: Callable[[str], None]) -> Grown:
    """The costs of studies with so many transfers, in folders that are thrown away; `say` is called
    with progress. Raises InputError for sizes that are no multiples of four."""
    for size in sizes:
        if size < _A_SEED or size % _A_SEED:
            raise InputError(f"--growth {size}: takes multiples of {_A_SEED}, such as 100")
    return {size: _grown(size, say) for size in sorted(set(sizes))}


def _grown(size: int, say: Callable[[str], None]) -> dict[str, Cost]:
    study = yaml.safe_load(_STUDY)
    study["downstream"][0]["seeds"] = list(range(size // _A_SEED))
    costs = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Path(folder)
        (place / "study.yaml").write_text(yaml.safe_dump(study))
        for name, command in COMMANDS.items():
            say(f"growth: {size:,} transfers: {name} ...")
            costs[name] = _measured(
                command, place, "new.db" if name == "sync anew" else "mlflow.db"
            )
    return costs


def _measured(command: Sequence[str], place: Path, store: str) -> Cost:
    """Runs `python -m command` in a folder, with an MLflow store in it."""
    home = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    uri = f"sqlite:///{place / store}"
    started, ended, memory = time.monotonic(), 0, 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=place,
            env={**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": uri},
            stdout=output,
            stderr=output,
        )
        while not ended:
            memory = max(memory, _most_memory(process.pid))
            time.sleep(_GLANCE)
            # Popen's own wait does not tell what one child used.
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            why = (output.read().strip().splitlines() or ["it died"])[-1]
            raise InputError(f"bench: python -m {' '.join(command)} fails: {why}")
    seconds = time.monotonic() - started
    return Cost(seconds, usage.ru_utime + usage.ru_stime, memory)


def _most_memory(process: int) -> int:
    """Bytes that a process has held at most; 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def lines(grown: Grown) -> list[str]:
    """A table: a row for each size, and one for what every 1,000 further transfers cost."""
    cells = [["transfers", *COMMANDS, "most memory"]]
    for size, costs in grown.items():
        most = max(cost.memory for cost in costs.values())
        cells.append(
            [f"{size:,}", *(_text(_shown(costs, c)) for c in COMMANDS), f"{most / 1e6:,.0f} MB"]
        )
    if len(grown) > 1:
        (few, first), *_, (many, last) = grown.items()
        each = [(_shown(last, c) - _shown(first, c)) / (many - few) for c in COMMANDS]
        cells.append(["1,000 more", *(_text(1000 * value) for value in each), ""])
    note = "run: by the clock, trainings included; others: processor time"
    return [*aligned(cells), note]


def _shown(costs: Mapping[str, Cost], command: str) -> float:
    return costs[command].seconds if command == "run" else costs[command].processor


def _text(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"
