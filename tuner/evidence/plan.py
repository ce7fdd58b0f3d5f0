"""Which evidence a study's finished results ask for."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from search_spaces.checks import AutoAttackCheck
from search_spaces.errors import InputError
from search_spaces.finished.evidence import (
    AttackEvidence,
    AutoAttackEvidence,
    Calibration,
    Evidence,
    Landscape,
    MaskEvidence,
    Probe,
    RecordEvidence,
    Retraining,
)
from search_spaces.finished.weights import Weights
from search_spaces.grid import DENSE, TicketCell, TransferCell
from search_spaces.reading import parts
from trainables.data.catalogue import channels_and_classes
from trainables.store.ledger import Ledger
from tuner.scheduling.worklist import Worklist
from tuner.storage import state

# A side of 101 points is ten thousand networks to judge.
MOST_POINTS = 101
_NO_AUTOATTACK = "autoattack: pyautoattack is not installed: pip install '.[autoattack]'"


@dataclass(frozen=True)
class Wish:
    """What of a study to re-train and look into, and how finely.

    levels: these, first seed only; None: the dense network, the extreme level and the next one.
    everything: every finished transfer instead, of every source seed and not of the first alone.
    points, images, reattack: of a landscape; paths: draw those of training too, whatever weights
    are kept. autoattack_images: 0 for no AutoAttack.
    """

    levels: frozenset[int] | None = None
    everything: bool = False
    points: int = 11
    images: int = 128
    reattack: int = 2
    autoattack_images: int = 50
    paths: bool = False


def wish(
    levels: str | None,
    everything: bool,
    points: int,
    images: int,
    reattack: int,
    autoattack_images: int,
    paths: bool,
) -> Wish:
    """A wish as the command line writes it, levels as in 0,4,9. Raises InputError for what cannot
    be meant."""
    if levels is not None and everything:
        raise InputError("--levels and --all: say one of the two")
    if not 3 <= points <= MOST_POINTS or points % 2 == 0:
        raise InputError(
            f"--points {points}: must be odd, for the weights' own place, and 3 to {MOST_POINTS}"
        )
    chosen = parts.levels(levels)
    return Wish(chosen, everything, points, images, reattack, autoattack_images, paths)


@dataclass(frozen=True)
class EvidencePlan:
    """first: evidence that needs nothing but finished results. probes: evidence that needs weights,
    kept ones or those of re-trainings among the first. skipped: what cannot be had, why, and the
    remedy."""

    first: list[Evidence]
    probes: list[Probe]
    skipped: list[str]

    @property
    def pieces(self) -> list[Evidence]:
        return [*self.first, *self.probes]

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return dict(Counter(piece.kind for piece in self.pieces))


def plan(work: Worklist, wish: Wish) -> EvidencePlan:
    """The evidence to gather on what the ledger holds of a study. Empty where it holds nothing."""
    done = [
        cell
        for name, cell in work.grid.transfers.items()
        if name in work.complete
        and (wish.everything or cell.ticket_cell.theta_cell.first)
        # What is looked into is which images are right: of objects there is no such record.
        and cell.transfer.dataset.kind == "labels"
    ]
    boundary = _boundary(work)
    chosen = _chosen(done, boundary, wish)
    kept = work.ledger.keys(Weights)
    networks = {cell.key: Retraining(transfer=cell.transfer) for cell in chosen}
    again = {c.key: networks[c.key] for c in chosen if wish.paths or c.weights_key not in kept}
    skipped: list[str] = []
    probes: list[Probe] = []
    for cell in chosen:
        network = networks[cell.key]
        size = {"points": wish.points, "images": wish.images, "reattack": wish.reattack}
        probes.append(Landscape(network=network, **size, path=cell.key in again))
        probes.append(Calibration(network=network))
    attacked = [cell for cell in chosen if cell.transfer.regime.attack]
    for cell in attacked:
        other = surrogate(cell, done, work.ledger)
        spare = Retraining(transfer=other.transfer) if other else None
        if other is None:
            skipped.append(f"black-box attack on {cell.key}: no other dense adversarial transfer")
        elif spare and other.weights_key not in kept:
            again.setdefault(other.key, spare)
        probes.append(AttackEvidence(network=networks[cell.key], surrogate=spare))
    judged = [c for c in attacked if wish.levels is not None or c.place in boundary]
    probes += _autoattacks(judged, networks, wish, skipped)
    first: list[Evidence] = [*_masks(work), *_records(done), *again.values()]
    return EvidencePlan(first, probes, list(dict.fromkeys(skipped)))


def surrogate(
    cell: TransferCell, done: Iterable[TransferCell], ledger: Ledger
) -> TransferCell | None:
    """The network on which a transfer's black-box attacks are made: a dense one after adversarial
    training on the same task, from another theta (or else from the same with another seed), of
    these the first seed's, and of these the most robust."""
    others = [
        c
        for c in done
        if c.ticket_cell.level == 0
        and c.regime == "adversarial"
        and _task(c) == _task(cell)
        and c.key != cell.key
    ]

    def closeness(other: TransferCell) -> tuple[bool, bool, int, float]:
        ticket, ra = other.ticket_cell, ledger.result(other.transfer)["test"]["ra"]
        same = ticket.pretraining == cell.ticket_cell.pretraining
        return same, not ticket.theta_cell.first, other.transfer.seed, -ra

    return min(others, key=closeness, default=None)


def _boundary(work: Worklist) -> set[tuple[Any, ...]]:
    """Places of the extreme level and the next tested one of each group of the verdict."""
    from analysis.verdict.one_std import GROUP, extreme

    table = state.results(work).expected
    verdict = extreme(table).dropna(subset=["level"]).set_index(GROUP)["level"]
    places = set[tuple[Any, ...]]()
    for group, rows in table[table["level"] > 0].groupby(GROUP, sort=False):
        theta, pruning, dataset, fraction = group
        top = int(verdict.get(group, 0))
        above = [level for level in sorted(rows["level"].unique()) if level > top]
        for level in (top, *above[:1]):
            places.add((theta, pruning if level else DENSE, dataset, fraction, int(level)))
    return places


def _chosen(
    done: list[TransferCell], boundary: set[tuple[Any, ...]], wish: Wish
) -> list[TransferCell]:
    from analysis.verdict.one_std import REGIMES

    if wish.everything:
        return done
    chosen: dict[tuple[Any, ...], TransferCell] = {}
    for cell in done:
        level = cell.ticket_cell.level
        if wish.levels is not None:
            wanted = level in wish.levels
        else:
            wanted = level == 0 or cell.place in boundary
        if wanted and cell.regime in REGIMES:
            chosen.setdefault((*cell.place, cell.regime), cell)
    return list(chosen.values())


def _autoattacks(
    cells: list[TransferCell], networks: dict[str, Retraining], wish: Wish, skipped: list[str]
) -> list[Probe]:
    probes: list[Probe] = []
    if not wish.autoattack_images or not cells:
        return probes
    if find_spec("pyautoattack") is None:
        skipped.append(_NO_AUTOATTACK)
        return probes
    for cell in cells:
        if channels_and_classes(cell.transfer.dataset)[1] < 4:
            skipped.append(f"autoattack: needs 4 classes: {cell.transfer.dataset.title} has fewer")
            continue
        attack = cell.transfer.evaluation.attack
        check = AutoAttackCheck(
            kind="autoattack",
            norm=attack.norm,
            epsilon=attack.epsilon,
            images=wish.autoattack_images,
        )
        probes.append(AutoAttackEvidence(network=networks[cell.key], check=check))
    return probes


def _masks(work: Worklist) -> list[MaskEvidence]:
    """For each pruning and level, its ticket of each theta; of masks drawn for every seed, the
    first."""
    levels: dict[tuple[str, int], dict[str, TicketCell]] = {}
    for name, cell in work.grid.tickets.items():
        if name in work.complete and cell.theta_cell.first:
            levels.setdefault((cell.pruning, cell.level), {}).setdefault(cell.pretraining, cell)
    return [
        MaskEvidence(tickets=tuple(cell.ticket for cell in cells.values()))
        for cells in levels.values()
    ]


def _records(done: list[TransferCell]) -> list[RecordEvidence]:
    """For each task, regime, pruning and level, its tickets beside the dense networks."""
    groups: dict[tuple[Any, ...], list[TransferCell]] = {}
    for cell in done:
        where = cell.ticket_cell.pruning, cell.ticket_cell.level
        groups.setdefault((*_task(cell), cell.regime, *where), []).append(cell)
    comparisons = []
    for (*task, regime, pruning, _level), cells in groups.items():
        dense = groups.get((*task, regime, DENSE, 0), []) if pruning != DENSE else []
        comparisons.append(RecordEvidence(transfers=tuple(c.transfer for c in [*dense, *cells])))
    return comparisons


def _task(cell: TransferCell) -> tuple[str, float]:
    return cell.transfer.dataset.title, cell.transfer.fraction
