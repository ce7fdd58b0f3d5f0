"""Levels as a study writes them: a list, or the terms of a search for the extreme one."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from search_spaces.base import Spec


class Adaptive(Spec):
    """Levels and seeds chosen by a search for the extreme double-win level, one for each theta,
    pruning and fraction. Written as `levels: adaptive`, or as a mapping of these fields."""

    bounds: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None, description="lowest and highest level to try; default: all that the pruning makes"
    )
    budget: int = Field(60, ge=10, description="the most transfers of one search, dense included")
    most_seeds: int = Field(30, ge=2, le=1000, description="the most seeds of one level")

    @model_validator(mode="after")
    def _bounds_ascend(self) -> Self:
        if self.bounds and self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds: {list(self.bounds)} must ascend: [LOWEST, HIGHEST]")
        return self

    def tries(self, level: int) -> bool:
        """Is this a level that the search may try? The dense network always is."""
        return level == 0 or self.bounds is None or self.bounds[0] <= level <= self.bounds[1]


LISTED, SEARCHED = "(listed)", "(searched)"
"""Mark a fault in one of the two ways to write levels; no name in a study can be such a word."""


def _from_name(value: Any) -> Any:
    if value == "adaptive":
        return Adaptive()
    if isinstance(value, list | tuple | dict | Adaptive):
        return value
    raise ValueError("takes a list of levels, or adaptive, or a mapping of a search's settings")


def _kind(value: Any) -> str:
    return SEARCHED if isinstance(value, dict | Adaptive) else LISTED


_Listed = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), Tag(LISTED)]
Levels = Annotated[
    _Listed | Annotated[Adaptive, Tag(SEARCHED)],
    Discriminator(_kind),
    BeforeValidator(
        _from_name, json_schema_input_type=Literal["adaptive"] | tuple[int, ...] | Adaptive
    ),
]
