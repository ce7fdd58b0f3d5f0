"""A study's transfers judged again by their kept weights: another attack, further checks."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from search_spaces.errors import InputError
from search_spaces.grid import Place
from search_spaces.reading import judging
from search_spaces.regimes import Attack, Protocol
from search_spaces.spec import Check
from trainables.store.ledger import Ledger
from tuner.commands.run import run_study
from tuner.options import load
from tuner.runtime.settings import Origin, Settings, rerun
from tuner.scheduling.worklist import Worklist, worklist
from tuner.stages.conclusion import winning
from tuner.storage import keeping


@dataclass(frozen=True)
class Judgement:
    """How a study is to be judged: all of it by another attack or protocol on its test images
    (None: as it is), and by further checks of the places that are chosen (all: None)."""

    attack: Attack | None
    protocol: Protocol | None
    checks: tuple[Check, ...]
    winners: bool = False
    levels: frozenset[int] | None = None


def judge_again(origin: Origin, settings: Settings, wanted: Judgement) -> int:
    """Judges a study's transfers from the weights that they have kept: a version of the study of
    its own, with its verdict. Nothing is trained. Returns the exit code: 0, or 1 if something is
    missing at the end. Raises InputError where weights that this takes are not kept, or there is no
    verdict that says who the winners are."""
    study = load(origin, settings.data)
    work = worklist(study, Ledger(settings.storage.resolve()))
    overrides = judging.judged_otherwise(study, wanted.attack, wanted.protocol)
    if wanted.checks:
        overrides += judging.checked(study, wanted.checks, _places(work, wanted))
    asked = replace(origin, overrides=(*origin.overrides, *overrides))
    judged = load(asked, settings.data)
    _check_kept(worklist(judged, work.ledger), asked, settings)
    return run_study(judged, settings, asked)


def _places(work: Worklist, wanted: Judgement) -> Collection[Place]:
    """The tickets whose transfers are checked further."""
    if wanted.winners:
        if not work.over:
            raise InputError(
                f"--winners: study {work.study.name} is not complete: run it first, or say --levels"
            )
        return winning(work)
    cells, levels = work.wanted.values(), wanted.levels
    return {c.place for c in cells if levels is None or c.ticket_cell.level in levels}


def _check_kept(work: Worklist, origin: Origin, settings: Settings) -> None:
    """Raises InputError where some of a study's missing transfers would have to be trained."""
    missing = work.wanted.keys() - work.complete
    if lacking := len(missing - keeping.judged_only(work)):
        raise InputError(
            f"{lacking} of {len(missing)} transfers to judge have kept no weights: this trains "
            f"them too: python -m tuner run {rerun(origin, settings)}"
        )
