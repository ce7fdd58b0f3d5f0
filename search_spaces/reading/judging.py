"""A study judged otherwise, as overrides of it: nothing of it is trained otherwise."""

import json
from collections.abc import Collection, Iterator

from search_spaces.base import Spec
from search_spaces.checks import Check
from search_spaces.grid import Place
from search_spaces.regimes import Attack, Protocol
from search_spaces.study import ChosenCheck, Only, Study


def judged_otherwise(study: Study, attack: Attack | None, protocol: Protocol | None) -> list[str]:
    """Overrides by which all test images are judged by another attack or protocol (None: as they
    are). Validation stays what it is, also where it was left to be the attack."""
    places = {"evaluation": study.evaluation, "source.evaluation": study.source.evaluation}
    places |= {f"downstream.{i}.evaluation": t.evaluation for i, t in enumerate(study.downstream)}
    overrides = []
    for place, evaluation in places.items():
        if evaluation is not None:
            changed = {"attack": attack, "protocol": protocol}
            changes = {name: value for name, value in changed.items() if value is not None}
            overrides.append(_override(place, evaluation.model_copy(update=changes)))
    return overrides


def checked(study: Study, checks: Collection[Check], places: Collection[Place]) -> list[str]:
    """Overrides by which the adversarial transfers from these tickets, and those of the dense
    networks that they are compared with, are checked further."""
    overrides = []
    for number, task in enumerate(study.downstream):
        own = sorted(
            place
            for place in places
            if place[2] == task.dataset.title and place[3] in task.fractions
        )
        further = [ChosenCheck(check=check, only=only) for only in _only(own) for check in checks]
        new = [each for each in further if each not in task.checks]
        texts = ", ".join(map(_text, [*task.checks, *new]))
        if new:
            overrides.append(f"downstream.{number}.checks=[{texts}]")
    return overrides


def _only(places: Collection[Place]) -> Iterator[Only]:
    """The tickets of each theta and pruning, with the dense network; where that is chosen alone,
    without a pruning."""
    levels: dict[tuple[str, str], set[int]] = {}
    for theta, pruning, _, _, level in places:
        if level:
            levels.setdefault((theta, pruning), {0}).add(level)
    for (theta, pruning), chosen in levels.items():
        yield Only(pretrainings=(theta,), pruning=(pruning,), levels=tuple(sorted(chosen)))
    for theta in dict.fromkeys(place[0] for place in places):
        if theta not in {known for known, _ in levels}:
            yield Only(pretrainings=(theta,), levels=(0,))


def _override(place: str, spec: Spec) -> str:
    return f"{place}={_text(spec)}"


def _text(spec: Spec) -> str:
    return json.dumps(spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True))
