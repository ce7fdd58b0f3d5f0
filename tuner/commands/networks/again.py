"""A study's transfers judged again by their kept weights: another attack, further checks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from search_spaces.checks import AttackCheck
from search_spaces.errors import InputError
from search_spaces.grid import Place
from search_spaces.reading import judging, parts
from search_spaces.regimes import Protocol
from trainables.store.ledger import Ledger
from tuner.commands.networks.evaluate import further
from tuner.commands.run import run_study
from tuner.options import load
from tuner.runtime.settings import Origin, Settings, rerun
from tuner.scheduling.worklist import Worklist, worklist
from tuner.stages.conclusion import winning
from tuner.storage import keeping


@dataclass(frozen=True)
class Wanted:
    """How a study is to be judged, as the command line says it. attack: fields of the attack (None:
    not given); levels: as in 5,10."""

    attack: Mapping[str, str | int | None]
    protocol: Protocol | None
    autoattack: bool
    corruptions: bool
    winners: bool
    levels: str | None


def judge_again(origin: Origin, settings: Settings, wanted: Wanted) -> int:
    """Judges a study's transfers from the weights that they have kept: a version of the study of
    its own, with its verdict. Nothing is trained. Returns the exit code: 0, or 1 if something is
    missing at the end. Raises InputError where weights that this takes are not kept, or there is no
    verdict that says who the winners are."""
    study = load(origin, settings.data)
    work = worklist(study, Ledger(settings.storage.resolve()))
    asked = replace(origin, overrides=(*origin.overrides, *_overrides(work, wanted)))
    judged = load(asked, settings.data)
    _check_kept(worklist(judged, work.ledger), asked, settings)
    return run_study(judged, settings, asked)


def _overrides(work: Worklist, wanted: Wanted) -> list[str]:
    """What is set otherwise in the version that is asked for."""
    study, places = work.study, _places(work, wanted)
    own = study.evaluation.attack
    other = any(value is not None for value in wanted.attack.values())
    attack = parts.pgd(wanted.attack, own) if other else None
    checks = further(attack or own, wanted.autoattack, wanted.corruptions)
    overrides = []
    if wanted.winners or wanted.levels is not None:
        # Beside the study's own attack: its verdict stays what it is.
        protocol = wanted.protocol or study.evaluation.protocol
        if attack:
            checks.insert(0, AttackCheck(kind="attack", attack=attack, protocol=protocol))
    elif attack or wanted.protocol:
        overrides = judging.judged_otherwise(study, attack, wanted.protocol)
    if not (overrides or checks):
        raise InputError("evaluate: say how: --steps, --norm, --protocol, --autoattack, ...")
    return overrides + (judging.checked(study, checks, places) if checks else [])


def _places(work: Worklist, wanted: Wanted) -> Collection[Place]:
    """The tickets whose transfers are checked further, with the dense networks."""
    if wanted.winners and wanted.levels is not None:
        raise InputError("--winners and --levels: say one of the two")
    if wanted.winners:
        if not work.over:
            raise InputError(
                f"--winners: study {work.study.name} is not complete: run it first, or say --levels"
            )
        return winning(work)
    cells, levels = work.wanted.values(), parts.levels(wanted.levels)
    tested = {cell.ticket_cell.level for cell in cells}
    if unknown := sorted((levels or set()) - tested):
        raise InputError(
            f"--levels {wanted.levels}: no transfer of {work.study.name} has level {unknown[0]}: "
            f"there are {', '.join(map(str, sorted(tested)))}"
        )
    return {c.place for c in cells if levels is None or c.ticket_cell.level in {0, *levels}}


def _check_kept(work: Worklist, origin: Origin, settings: Settings) -> None:
    """Raises InputError where some of a study's missing transfers would have to be trained."""
    missing = work.wanted.keys() - work.complete
    if lacking := len(missing - keeping.judged_only(work)):
        raise InputError(
            f"{lacking} of {len(missing)} transfers to judge have kept no weights: this trains "
            f"them too: python -m tuner run {rerun(origin, settings)}"
        )
