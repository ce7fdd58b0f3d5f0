"""What the rest of a study will take: seconds with a range, and bytes."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from search_spaces.networks import Model
from trainables.data.layouts import split_sizes
from trainables.estimate.steps import Step, Training, steps
from tuner.cluster.capacity import Capacity
from tuner.estimate import prices
from tuner.estimate.prices import Machine, Prices
from tuner.estimate.work import Piece, finished, left
from tuner.runtime.console import roughly
from tuner.runtime.settings import Keep
from tuner.scheduling.worklist import Worklist
from tuner.storage.keeping import kept_share

# Seconds, seen on 2 cores: imports, Ray and MLflow until the first stage starts, and the verdict; a
# Ray Train fit until its worker trains; a transfer beyond its own time.
START, FIT_START, BETWEEN = 18.0, 13.0, 0.3
IN_PRACTICE = 1.2
"""Time of a training over that of its steps timed alone. Seen on 2 cores: 0.98 to 1.5."""
UNTRIED, TRIED = 2.0, 1.25
"""How far off an estimate may be each way, as a factor: with kinds of work of which none has
finished, and without."""
# Bytes of a result's folder and its run in MLflow, but for weights, masks and images.
_RESULT = 48_000


@dataclass(frozen=True)
class Outlook:
    """What is left of a study, and what is known of its cost: mean seconds of finished results by
    kind and, once a theta is there, how many weights its network has; kept: the weights that its
    transfers will keep, in numbers of a dense network's."""

    model: Model
    pieces: Counter[Piece]
    took: dict[Training, float]
    capacity: Capacity
    weights: int | None
    kept: float

    @property
    def steps(self) -> list[Step]:
        """The kinds of step that must be known: those of trainings of which none has finished.
        Raises InputError where the data to count are not there."""
        kinds = dict.fromkeys(piece.training for piece in self.pieces)
        new = [kind for kind in kinds if kind is not None and kind not in self.took]
        return list(dict.fromkeys(step for kind in new for step in self._steps(kind)))

    def seconds(self, kind: Training | None, known: Prices) -> float:
        """What one training takes."""
        if kind is None:
            return 0.0
        if kind in self.took:
            return self.took[kind]
        alone = sum(count * known[step].seconds for step, count in self._steps(kind).items())
        return IN_PRACTICE * alone

    def _steps(self, kind: Training) -> dict[Step, float]:
        return steps(kind, 1 if kind.transferred else self.capacity.workers)


@dataclass(frozen=True)
class Estimate:
    """What the rest of a study will take.

    low, middle, high: seconds; rows: seconds by stage and kind of work, on a machine that is always
    full; size: bytes of results and of MLflow's copies, None where a network's weights were never
    counted.
    """

    low: float
    middle: float
    high: float
    rows: dict[tuple[str, str], float]
    size: float | None

    def __str__(self) -> str:
        low, high = roughly(self.low), roughly(self.high)
        number, unit = low.split()
        return f"about {roughly(self.middle)} ({number if high.endswith(unit) else low} to {high})"


def outlook(work: Worklist, capacity: Capacity, device: str, keep: Keep | None = None) -> Outlook:
    """What is left of a study and what is known of its cost on this host. keep: of which transfers
    the weights are kept."""
    model, ledger = work.study.source.model.model_copy(update={"normalisation": None}), work.ledger
    complete = (cell.theta for name, cell in work.grid.thetas.items() if name in work.complete)
    # A check's surrogate may be another network.
    thetas = [theta for theta in complete if theta.model == work.study.source.model]
    sizes = (ledger.folder(theta) / "weights.safetensors" for theta in thetas)
    weights = next((path.stat().st_size // 4 for path in sizes if path.exists()), None)
    pieces, asked = left(work), work.wanted
    missing = [cell for name, cell in asked.items() if name not in work.complete]
    share = 0.0 if keep == "none" or not missing else kept_share(missing) / len(missing)
    kept = share * sum(count for piece, count in pieces.items() if piece.chain is None)
    return Outlook(model, pieces, finished(work, device), capacity, weights, kept)


def priced(ahead: Outlook, where: Machine, say: Callable[[str], None] | None) -> tuple[Prices, str]:
    """(prices of the steps ahead, why they are not all known; empty if they are). Kinds of step
    that were never timed on this machine are timed now, after a word to `say`; without `say` they
    are not."""
    steps = ahead.steps
    known = prices.known(steps, where)
    new = [step for step in steps if step not in known]
    if new and say:
        say(f"timing {len(new)} kinds of step, once for this machine ...")
        known |= prices.timed(new, where)
        new = [step for step in steps if step not in known]
    if not new:
        return known, ""
    if say:
        return known, f"{new[0].model.arch} at {new[0].size} pixels cannot be timed here"
    return known, f"{len(new)} kinds of step were never timed here (leave --no-measure out)"


def estimate(ahead: Outlook, known: Prices) -> Estimate | None:
    """The cost of what is ahead; None where that is nothing, or a kind of step has no price."""
    if not ahead.pieces or any(step not in known for step in ahead.steps):
        return None
    capacity, rows = ahead.capacity, defaultdict[tuple[str, str], float](float)
    places = capacity.gpus / capacity.chain_gpus if capacity.on_gpus else capacity.cpus
    fits = max(1, int(places // capacity.workers))
    chains = dict.fromkeys((p.chain for p in ahead.pieces if p.chain is not None), FIT_START)
    transfers = longest = 0.0
    for piece, count in ahead.pieces.items():
        each = ahead.seconds(piece.training, known)
        if piece.chain is not None:
            chains[piece.chain] += count * each
            rows[piece.stage, piece.what] += count * each / fits
        else:
            longest, both = max(longest, each), count * (each + BETWEEN)
            transfers += both
            rows[piece.stage, piece.what] += both / capacity.trials
    # Side by side: no idle slot, unless the longest chain is longer than all the work beside it.
    full = sum(chains.values()) / fits + transfers / capacity.trials
    middle = START + max(full, max(chains.values(), default=0.0) + longest)
    off = UNTRIED if ahead.steps else TRIED
    return Estimate(middle / off, middle, middle * off, rows, _size(ahead, known))


def _size(ahead: Outlook, known: Prices) -> float | None:
    """Bytes: a weight takes four, a mask's place one and in MLflow another, a test image two."""
    counted = (price.parameters for step, price in known.items() if step.model == ahead.model)
    weights = ahead.weights or next(counted, None)
    if weights is None:
        return None
    total = 4 * weights * ahead.kept
    for piece, count in ahead.pieces.items():
        if piece.chain is None:
            assert piece.training is not None, "a transfer trains"
            each = 2 * split_sizes(piece.training.dataset).test
        else:
            each = (4 * piece.weights + 2 * (piece.stage == "tickets")) * weights
        total += count * (each + _RESULT)
    return total
