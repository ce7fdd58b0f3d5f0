"""`python -m tuner bench`: the bench of trainables, and what Ray adds to a chain and a trial."""

import heapq
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.study import Study
from trainables.bench import measure, packing
from trainables.bench.libraries import installed
from trainables.bench.measure import BenchSettings
from trainables.bench.table import BenchRow, lines
from trainables.store.ledger import Ledger, open_ledger
from tuner.bench import growth
from tuner.cluster.capacity import Capacity, cluster
from tuner.runtime.console import quiet
from tuner.runtime.settings import Settings
from tuner.scheduling.worklist import worklist
from tuner.storage.failures import FailureReason

# One short chain, and transfers of about a second: many enough to see what lies between two.
_STUDY = """
name: bench
source:
  dataset: {name: mnist-mini, size: 16, limit: 512}
  model: {arch: resnet8, width: 16}
  pretrainings:
    standard: {train: {recipe: {epochs: 1, lr: 0.05}}}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 1, lr: 0.05}}}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0, 1, 2, 3]
    seeds: [0, 1, 2, 3, 4, 5]
    regimes:
      standard: {recipe: {epochs: 2, batch_size: 64, lr: 0.05}}
evaluation:
  attack: {kind: pgd, steps: 5, epsilon: 0.15, alpha: 0.0375}
"""
STAGES = "stages"
"""The word that --only asks for the costs of stages by."""


@dataclass(frozen=True)
class Stages:
    """What Ray adds, in seconds.

    start: a cluster of this machine; chain: a source chain beyond its trainings; first: until the
    first transfer begins; between: from one transfer to the next in its slot, median; busy: the
    share of all slots' time, from the first transfer's begin to the last one's end, in which
    transfers ran. transfers, slots: of how many, and how many side by side.
    """

    start: float
    chain: float
    first: float
    between: float
    busy: float
    transfers: int
    slots: int


def run(settings: BenchSettings, only: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """All that is asked for: rows of the table, and what stages cost; `say` gets the progress."""
    others = tuple(word for word in only if word != STAGES)
    rows = []
    if others or not only:
        rows = list(measure.run(replace(settings, only=others), say))
    measured: dict[str, Any] = {"rows": rows}
    if not only or len(others) < len(only):
        say("stages: one short chain and 24 short transfers on Ray ...")
        measured[STAGES] = stages()
    return measured


def stages() -> Stages:
    """Runs a small study's stages in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        storage = Path(folder)
        study = studies.validate(studies.parse(_STUDY, "bench"), "bench")
        ledger = open_ledger(storage)
        with quiet(storage / "log"):
            began = time.monotonic()
            with cluster(Settings(storage=storage)) as capacity:
                start = time.monotonic() - began
                return _stages(study, ledger, capacity, start)


def _stages(study: Study, ledger: Ledger, capacity: Capacity, start: float) -> Stages:
    from tuner.stages import source, transfer

    def fails(key: str, why: FailureReason) -> None:
        raise InputError(f"bench: a training on Ray failed: {why.error}")

    work, began = worklist(study, ledger), time.time()
    with source.started(work, capacity, source.Listener(lambda key: None, fails)) as sources:
        pass  # Alone: it is waited for.
    chain = time.time() - began
    own = [ledger.result(spec) for spec in work.grid.sources.values()]
    chain -= sum(result["ended"] - result["started"] for result in own)
    began = time.time()
    transfer.run(work, capacity, sources, lambda key: None, fails, lambda: False)
    results = [ledger.result(cell.transfer) for cell in work.grid.transfers.values()]
    spans = sorted((result["started"], result["ended"]) for result in results)
    gaps, busy = between(spans, capacity.trials)
    return Stages(
        start=start,
        chain=chain,
        first=spans[0][0] - began,
        between=median(gaps),
        busy=busy,
        transfers=len(spans),
        slots=capacity.trials,
    )


def between(spans: Sequence[tuple[float, float]], slots: int) -> tuple[list[float], float]:
    """(idle seconds before each job but a slot's first, share of the slots' time that was busy)
    of jobs (begin, end), sorted by their begins, each in the slot that was free first."""
    free: list[float] = []
    gaps = []
    for start, end in spans:
        if len(free) < slots:
            heapq.heappush(free, end)
        else:
            gaps.append(start - heapq.heapreplace(free, end))
    whole = max(end for _, end in spans) - spans[0][0]
    return gaps, sum(end - start for start, end in spans) / (slots * whole)


def show(measured: dict[str, Any]) -> list[str]:
    """The text of what `run` found."""
    rows: list[BenchRow] = measured["rows"]
    text = lines(rows) if rows else []
    if STAGES in measured:
        of: Stages = measured[STAGES]
        text += [
            "",
            f"stages: Ray starts in {of.start:.1f} s; a source chain costs {of.chain:.1f} s beyond "
            f"its trainings; the first transfer begins after {of.first:.1f} s,",
            f"then {of.between:.2f} s lie between two in a slot; {100 * of.busy:.0f} % of "
            f"{of.slots} slots busy ({of.transfers} short transfers)",
        ]
    return text


def table_output(
    settings: BenchSettings, only: Sequence[str], form: str, peers: bool, say: Callable[[str], None]
) -> str:
    """The command's output, as text or as JSON."""
    settings = replace(settings, peers=tuple(installed()) if peers else ())
    measured = run(settings, only, say)
    if form == "json":
        plain: dict[str, Any] = {"rows": [asdict(row) for row in measured["rows"]]}
        if STAGES in measured:
            plain[STAGES] = asdict(measured[STAGES])
        return json.dumps(plain, indent=1)
    return "\n".join(show(measured))


def packing_output(settings: BenchSettings, form: str, say: Callable[[str], None]) -> str:
    """The output of --packing, as text or as JSON."""
    crowds = list(packing.run(settings, say))
    if form == "json":
        return json.dumps([asdict(crowd) for crowd in crowds], indent=1)
    return "\n".join([*map(packing.line, crowds), *packing.advice(crowds, settings)])


def growth_output(sizes: Sequence[int], form: str, say: Callable[[str], None]) -> str:
    """The output of --growth, as text or as JSON."""
    grown = growth.run(sizes, say)
    if form == "json":
        plain = {
            size: {c: asdict(cost) for c, cost in costs.items()} for size, costs in grown.items()
        }
        return json.dumps(plain, indent=1)
    return "\n".join(growth.lines(grown))
