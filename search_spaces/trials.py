"""From a study's search and a point of its space to a trial, and back to the study."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, ValidationError

from search_spaces import grid
from search_spaces.base import Spec
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.levels import level_at
from search_spaces.prunings import Pruning
from search_spaces.regimes import Attack, Evaluation, Protocol, Regime
from search_spaces.searches.section import Search
from search_spaces.searches.spaces import Point, Value
from search_spaces.spec import Dataset, Ticket, Transfer
from search_spaces.study import Downstream, DownstreamRegime, Study

RATE = "pruning.rate"


class Trial(Spec):
    """One training of a search, on each of some seeds -> validation scores.

    It knows no test attack: nothing in it is ever judged on test images.
    """

    ticket: Ticket
    dataset: Dataset
    fraction: float = Field(gt=0, le=1)
    subset: Literal["balanced", "first_n"]
    regime: Regime
    validation: Attack
    protocol: Protocol
    seeds: tuple[int, ...] = Field(min_length=1)

    @property
    def transfers(self) -> list[Transfer]:
        """The same training as transfers, one a seed; their evaluation is the validation."""
        evaluation = Evaluation(
            attack=self.validation, validation=self.validation, protocol=self.protocol
        )
        shared = {n: getattr(self, n) for n in ("ticket", "dataset", "fraction", "subset")}
        return [
            Transfer(**shared, regime=self.regime, evaluation=evaluation, seed=seed)
            for seed in self.seeds
        ]


def searched(study: Study) -> Search:
    """The study's search. Raises InputError if it has none."""
    if study.search is None:
        raise InputError(f"study {study.name}: has no search: section: add one to its YAML")
    return study.search


def trial(study: Study, point: Point, seeds: tuple[int, ...] | None = None) -> Trial:
    """The trial of a point. Raises InputError for a value that its field refuses."""
    search = searched(study)
    task = study.downstream[task_place(study, search)]
    evaluation = task.evaluation or study.evaluation
    regime = task.regimes[search.regime].regime.model_dump()
    # Schedulers and best epochs need a score after every epoch.
    regime["recipe"]["validate_from"] = 1
    for name, value in point.items():
        if name != RATE:
            _put(regime, name, value)
    try:
        return Trial(
            ticket=_ticket(study, search, point.get(RATE)),
            dataset=task.dataset,
            fraction=search.fraction or task.fractions[0],
            subset=task.subset,
            regime=Regime.model_validate(regime),
            validation=evaluation.validation,
            protocol=evaluation.protocol,
            seeds=seeds or search.seeds,
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        message = fault["msg"].removeprefix("Value error, ")
        place = ".".join(map(str, fault["loc"]))
        values = ", ".join(f"{name} {value}" for name, value in point.items())
        raise InputError(f"search.space: at {values}: {place}: {message}") from None


def shipped_point(study: Study) -> Point:
    """The study's own values of what is searched."""
    search = searched(study)
    point: Point = {}
    for name, domain in search.space.items():
        if domain.active(point):
            point[name] = own_value(study, search, name)
    return point


def first_points(study: Study) -> list[Point]:
    """The points that a search begins with: the study's own, then those written in it."""
    search, own = searched(study), shipped_point(study)
    points = [own]
    for given in search.points:
        point: Point = {}
        for name, domain in search.space.items():
            if domain.active(point):
                point[name] = given[name] if name in given else own_value(study, search, name)
        if point not in points:
            points.append(point)
    return points


def values(spec: Trial) -> dict[str, Value]:
    """All that a search may set and what a trial sets it to, by path."""
    flat = dict(_flat(spec.regime.model_dump(exclude_none=True)))
    if spec.ticket.pruning:
        flat[RATE] = spec.ticket.pruning.rate
    return flat


def point_of(study: Study, spec: Trial) -> Point | None:
    """The point whose trial this is; None if it belongs to another search."""
    return point_from(study, values(spec), key(spec))


def point_from(study: Study, among: dict[str, Value], wanted: str) -> Point | None:
    """The point whose values are among some, if its trial has the key that is wanted."""
    point: Point = {}
    for name, domain in searched(study).space.items():
        if domain.active(point):
            value = among.get(name)
            if value is None or not domain.holds(value):
                return None
            point[name] = value
    return point if key(trial(study, point)) == wanted else None


def fragment(study: Study, point: Point) -> dict[str, Any]:
    """A point as overrides of the study: PATH -> value, as `--set` takes them."""
    search = searched(study)
    start = f"downstream.{task_place(study, search)}.regimes.{search.regime}"
    regime = trial(study, point).regime.model_dump(mode="json", exclude_none=True)
    overrides: dict[str, Any] = {}
    for name, value in point.items():
        if name == RATE:
            overrides[f"pruning.{search.pruning}.rate"] = value
        else:
            # A section that the study leaves out, as recipe.schedule, is given whole.
            path = ".".join(name.split(".")[:2])
            overrides[f"{start}.{path}"] = _get(regime, path)
    return overrides


def task_place(study: Study, search: Search) -> int:
    """The searched task's place; of several with one title, the one that has the fraction."""
    tasks = list(enumerate(study.downstream))
    if isinstance(search.task, int):
        if search.task < len(tasks):
            return search.task
        raise InputError(f"search.task: there is no task {search.task}: places go from 0")
    named = [(place, task) for place, task in tasks if task.dataset.title == search.task]
    if not named:
        titles = ", ".join(dict.fromkeys(task.dataset.title for _, task in tasks))
        raise InputError(f"search.task: {search.task} is not in the study: it has {titles}")
    fitting = [place for place, task in named if search.fraction in task.fractions]
    return (fitting or [named[0][0]])[0]


def _ticket(study: Study, search: Search, rate: Value | None) -> Ticket:
    cells = (cell for cell in grid.thetas(study) if cell.pretraining == search.pretraining)
    theta = next(cells).theta  # Of several source seeds the first one's.
    if search.pruning is None:
        return Ticket(theta=theta, pruning=None, level=0)
    first = study.downstream[task_place(study, search)].seeds[:1]
    (plan,) = study.pruning[search.pruning].draws(first).values()
    pruning = plan.pruning
    if rate is None:
        return Ticket(theta=theta, pruning=pruning, level=search.level)
    # At one level a lower rate keeps more weights: rates are compared at one sparsity.
    changed = Pruning.model_validate({**pruning.model_dump(), "rate": rate})
    level = level_at(changed.rate, search.level, pruning.rate)
    return Ticket(theta=theta, pruning=changed, level=level)


def own_value(study: Study, search: Search, name: str) -> Value:
    task: Downstream = study.downstream[task_place(study, search)]
    regime: DownstreamRegime = task.regimes[search.regime]
    if name == RATE:
        assert search.pruning is not None, "checked"
        return study.pruning[search.pruning].rate
    first = name.split(".")[0]
    if first == "attack" and regime.attack is None:
        raise InputError(
            f"search.space.{name}: regime {search.regime} has no attack: drop it, or search "
            "another regime"
        )
    value = _get(regime.model_dump(), name) if first in ("recipe", "attack") else None
    if not isinstance(value, int | float | str) or name == "recipe.validate_from":
        raise InputError(
            f"search.space.{name}: cannot be searched: name a single value of recipe (recipe.lr) "
            f"or attack (attack.alpha), or {RATE}"
        )
    return value


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{name}", value


def _get(fields: dict[str, Any], path: str) -> Any:
    """What a nested mapping holds at a dotted path; None if nothing."""
    node: Any = fields
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _put(fields: dict[str, Any], path: str, value: Value) -> None:
    *parents, last = path.split(".")
    node = fields
    for part in parents:
        node = node[part]
    node[last] = value
