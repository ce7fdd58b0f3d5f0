"""The bench's rows, measured: contenders in processes of their own take turns, and what is compared
are ratios within a round, with their quartiles."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import torch

from search_spaces.errors import InputError
from trainables.bench.interleaving import interleave, quartiles, ratios
from trainables.bench.ours import CASES
from trainables.bench.rows import NETS, OURS, OURSELVES, Ask, Question, asked
from trainables.bench.table import BenchRow
from trainables.runtime.precision import precision

TURN = {"cpu": 0.4, "cuda": 0.15}
"""Seconds that we work in one turn, by device: others take several times as long on a GPU."""
ROW = {"cpu": 5.0, "cuda": 2.0}
"""Seconds that all together spend on a row, or three rounds."""


@dataclass(frozen=True)
class BenchSettings:
    """What is asked of the bench. full: with ResNet-50, and in the batches that are trained with;
    only: words of which a row's name has one (none: all rows); ourselves: names from OURSELVES to
    compare with; turn, seconds: see TURN and ROW, which they are by default."""

    device: str = "cpu"
    threads: int = 1
    peers: tuple[str, ...] = ()
    full: bool = False
    only: tuple[str, ...] = ()
    seconds: float | None = None
    turn: float | None = None
    ourselves: tuple[str, ...] = ()

    @property
    def row_seconds(self) -> float:
        return ROW[self.device] if self.seconds is None else self.seconds

    @property
    def turn_seconds(self) -> float:
        return TURN[self.device] if self.turn is None else self.turn


@dataclass(frozen=True)
class Process:
    """A contender's process."""

    name: str
    process: "subprocess.Popen[str]"
    errors: IO[str]

    def rate(self, content: Mapping[str, Any]) -> float:
        """How much it does a second of the work that is asked for."""
        answer = self.ask(content)
        return answer["count"] / answer["seconds"]

    def ask(self, content: Mapping[str, Any]) -> dict[str, float]:
        """Its answer. Raises InputError with its last words if it dies of the question."""
        self.put(content)
        return self.get()

    def put(self, content: Mapping[str, Any]) -> None:
        """Asks, and does not wait for the answer."""
        assert self.process.stdin is not None, "it is a pipe"
        with suppress(OSError):  # That it died shows when its answer is read.
            self.process.stdin.write(json.dumps(dict(content)) + "\n")
            self.process.stdin.flush()

    def get(self) -> dict[str, float]:
        """The answer to what was put."""
        assert self.process.stdout is not None, "it is a pipe"
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            why = (self.errors.read().strip().splitlines() or ["it died"])[-1]
            raise InputError(f"bench: {self.name} fails: {why}: choose other rows with --only")
        return json.loads(line)


@contextmanager
def contenders(
    names: Sequence[str], settings: BenchSettings, environment: Mapping[str, str] = os.environ
) -> Iterator[dict[str, Process]]:
    """A process for each name."""
    home = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, (str(home), environment.get("PYTHONPATH"))))
    threads = str(settings.threads)
    command = [sys.executable, "-W", "ignore", "-m", "trainables.bench.contender"]
    with ExitStack() as stack:
        processes = {}
        for name in names:
            errors = stack.enter_context(TemporaryFile("w+"))
            process = subprocess.Popen(
                [*command, name, settings.device, threads],
                env={
                    **environment,
                    "PYTHONPATH": path,
                    "OMP_NUM_THREADS": threads,
                    **OURSELVES.get(name, {}),
                },
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            stack.callback(_end, process)
            processes[name] = Process(name, process, errors)
        yield processes


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def run(settings: BenchSettings, say: Callable[[str], None]) -> Iterator[BenchRow]:
    """Every row that is asked for, as it is measured; `say` is called with what is going on.

    Raises InputError if no row is asked for, or a contender can't do its part.
    """
    wanted = selected(settings)
    check_device(settings.device)
    names = {q.process for ask in wanted for q in (ask.ours, *ask.others.values())}
    with contenders(sorted(names), settings) as processes:
        able = [peer for peer in settings.peers if _works(processes, peer, say)]
        wanted = selected(replace(settings, peers=tuple(able)))
        for number, ask in enumerate(wanted, 1):
            say(f"{number}/{len(wanted)} {ask.name} ...")
            yield _row(ask, processes, settings)


def check_device(device: str) -> None:
    """Raises InputError for a device that torch does not see."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU on this machine: leave it out")


def _works(processes: Mapping[str, Process], peer: str, say: Callable[[str], None]) -> bool:
    """Does an installed library run here, on a few small images? `say` is called with why not."""
    trial = {"case": NETS[0], "operation": "adversarial", "batch": 2, "images": 2}
    try:
        if peer in processes:
            processes[peer].ask(trial)
    except InputError as error:
        say(f"left out: {error}")
        return False
    return True


def selected(settings: BenchSettings) -> list[Ask]:
    """The rows that the settings ask for; raises InputError if there are none."""
    # The largest takes a CPU minutes a row: in full, or asked for by its name.
    named = any(NETS[-1] in word for word in settings.only)
    nets = NETS if settings.full or named or settings.device == "cuda" else NETS[:-1]
    small = settings.device == "cpu" and not settings.full
    batches = {net: CASES[net].few if small else CASES[net].batch for net in nets}
    rows = asked(batches, settings.peers, settings.ourselves)
    only = settings.only
    chosen = [ask for ask in rows if not only or any(word in ask.name for word in only)]
    if not chosen:
        names = "; ".join(ask.name for ask in rows)
        raise InputError(f"--only {' '.join(only)}: no row's name has it; there are {names}")
    return chosen


def _row(ask: Ask, processes: Mapping[str, Process], settings: BenchSettings) -> BenchRow:
    """One row: as much work a turn as takes us `turn_seconds`, the roofline's among the turns."""
    ours = processes[OURS]
    more = {"images": _images(ask, ours, settings.turn_seconds)} if ask.batch else {}

    def turn(question: Question) -> Callable[[], float]:
        return partial(processes[question.process].rate, {**question.content, **more})

    turns = {OURS: turn(ask.ours)} | {name: turn(q) for name, q in ask.others.items()}
    limits = _limits(ours, settings) if ask.counted else {}
    turns |= {name: partial(ours.rate, content) for name, content in limits.items()}
    rates = interleave(turns, settings.row_seconds)
    shares = {}
    if ask.counted:
        each = ours.ask({"kind": "count", **ask.counted})
        for name, unit in (("product", "operations"), ("copy", "bytes")):
            if name in rates:
                share = ratios(rates[OURS], rates[name])
                shares[name] = quartiles([value * each[unit] for value in share])
    return BenchRow(
        name=ask.name,
        unit=ask.unit,
        batch=ask.batch,
        rounds=len(rates[OURS]),
        rate=quartiles(rates[OURS]),
        against={name: quartiles(ratios(rates[OURS], rates[name])) for name in ask.others},
        roofline=shares.get("product"),
        traffic=shares.get("copy"),
    )


def _images(ask: Ask, ours: Process, seconds: float) -> int:
    """How many images, in whole batches, take us about so many seconds."""
    assert ask.batch is not None, "asked of works in batches only"
    content = {**ask.ours.content, "images": ask.batch}
    ours.ask(content)
    return ask.batch * max(1, round(seconds / ours.ask(content)["seconds"]))


def _limits(ours: Process, settings: BenchSettings) -> dict[str, dict[str, Any]]:
    """Questions for the machine's own rates, half a turn each."""
    dtype = "bfloat16" if precision() == "bf16" else "float32"
    limits: dict[str, dict[str, Any]] = {"product": {"kind": "product", "dtype": dtype}}
    if settings.device == "cuda":
        limits["copy"] = {"kind": "copy"}
    for content in limits.values():
        once = {**content, "times": 1}
        ours.ask(once)
        content["times"] = max(1, round(settings.turn_seconds / 2 / ours.ask(once)["seconds"]))
    return limits
