"""The evidence stage: one Ray task for every piece of evidence that the ledger lacks."""

from collections.abc import Callable, Iterable

from search_spaces.finished.evidence import AutoAttackEvidence, Evidence, Landscape, Retraining
from search_spaces.keys import key
from trainables.evidence.gather import gather
from trainables.store.ledger import Ledger
from tuner.cluster.capacity import Capacity

_LONGEST = (AutoAttackEvidence, Landscape, Retraining)


def run(
    pieces: Iterable[Evidence], ledger: Ledger, capacity: Capacity, ended: Callable[[], None]
) -> list[str]:
    """Gathers pieces of evidence, calling `ended` as each ends; returns why any failed."""
    import ray

    task = ray.remote(num_cpus=capacity.trial_cpus, num_gpus=capacity.trial_gpus)(gather)
    running = {
        task.remote(piece.model_dump_json(), str(ledger.root)): piece
        for piece in longest_first(pieces)
    }
    failures = []
    while running:
        finished, _ = ray.wait(list(running))
        for reference in finished:
            piece = running.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                failures.append(f"{piece.kind} {key(piece)}: {lines[-1]}")
            ended()
    return failures


def longest_first(pieces: Iterable[Evidence]) -> list[Evidence]:
    """By falling duration of their kinds, so that the last tasks to end are short ones."""

    def rank(piece: Evidence) -> tuple[int, int]:
        for place, kind in enumerate(_LONGEST):
            if isinstance(piece, kind):
                return place, -piece.transfer.regime.passes if kind is Retraining else 0
        return len(_LONGEST), 0

    return sorted(pieces, key=rank)
