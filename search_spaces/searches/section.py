"""The `search:` section of a study: which training is tuned, for what, over which space."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from search_spaces.base import Name, Seed, Spec
from search_spaces.regimes import RegimeName
from search_spaces.searches.spaces import Point, Space

Objective = Literal["ra", "sa"]


class Search(Spec):
    """A search for better hyper-parameters of one training, judged on validation images.

    The ticket is the dense network of `pretraining`, or `level` of `pruning`. A trial trains once
    for each of `seeds` and scores their mean; `objectives` are validation accuracies, of the best
    epoch. `space` sets recipe.*, attack.* and pruning.rate; the study's own values are the first
    point, `points` follow. With a `scheduler`, trials that are behind after `grace` epochs or later
    are stopped: asha by successive halving, hyperband by several halvings that start later and
    later (both asynchronous, by the first objective). In the end the best and the study's own
    recipe are trained on `confirm` further seeds.
    """

    task: Annotated[int, Field(ge=0)] | Name = Field(
        0, description="the downstream task: its dataset's title, or its place from 0"
    )
    regime: RegimeName = Field(description="the regime whose training is tuned")
    pretraining: Name = Field(description="the theta that is trained")
    pruning: Name | None = Field(
        None, description="the ticket's pruning; default: the dense network is trained"
    )
    level: int = Field(0, ge=0, le=60, description="the ticket's level; 0 is the dense network")
    fraction: float | None = Field(None, gt=0, le=1, description="default: the task's first")
    seeds: tuple[Seed, ...] = Field(
        (0,), min_length=1, description="a trial trains once for each and scores their mean"
    )
    objectives: tuple[Objective, ...] = Field(
        min_length=1, description="validation accuracies to raise: ra, sa or both"
    )
    space: Space = Field(
        min_length=1,
        description="what is searched, by path (recipe.lr, attack.alpha, pruning.rate), and its "
        "domain",
    )
    points: tuple[Point, ...] = Field((), description="values to try first, after the study's own")
    scheduler: Literal["none", "asha", "hyperband"] = Field(
        "none", description="whether trials that are behind are stopped, and how"
    )
    grace: int = Field(2, ge=1, description="epochs that every trial may train")
    trials: int = Field(20, ge=1, le=100_000, description="how many are wanted in all")
    confirm: int = Field(
        5,
        ge=2,
        le=1000,
        description="further seeds on which the best recipe and the study's own are compared",
    )
    seed: Seed = Field(0, description="of the sampler")

    @property
    def further_seeds(self) -> tuple[int, ...]:
        """Seeds that no trial has seen."""
        first = max(self.seeds) + 1
        return tuple(range(first, first + self.confirm))

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for field in ("seeds", "objectives"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} has a value twice: {list(values)}")
        return self

    @model_validator(mode="after")
    def _level_and_pruning_belong_together(self) -> Self:
        if (self.level == 0) != (self.pruning is None):
            raise ValueError(
                "level and pruning belong together: give both for a sparse ticket, "
                "neither for the dense network"
            )
        return self

    @model_validator(mode="after")
    def _conditions_look_back(self) -> Self:
        earlier: list[str] = []
        for name, domain in self.space.items():
            for other, values in (domain.when or {}).items():
                if other not in earlier:
                    raise ValueError(
                        f"space.{name}.when: {other} is not a parameter above {name}: "
                        "write it there, or drop the condition"
                    )
                for value in values:
                    if not self.space[other].holds(value):
                        raise ValueError(
                            f"space.{name}.when: {other} never is {value}: "
                            "name values of its domain"
                        )
            earlier.append(name)
        return self
