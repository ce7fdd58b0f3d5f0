"""Hyper-parameter domains as written in a study: {log_uniform: [1e-3, 1e-1]}, {choice: [..]}, ...

Bounds are inclusive; numbers may be written as fractions ("8/255").
"""

from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from search_spaces.base import Number, Spec


def _scalar(value: Any) -> Any:
    """Reads '8/255' and '1e-3' (to YAML 1.1, words) as numbers; other words stay words."""
    if isinstance(value, str):
        above, slash, below = value.partition("/")
        try:
            return float(above) / float(below) if slash else float(value)
        except (ValueError, ArithmeticError):
            return value
    return value


Value = Annotated[StrictInt | StrictFloat | StrictStr, BeforeValidator(_scalar)]
"""One hyper-parameter's value."""

Point = dict[str, Value]
"""Values of hyper-parameters, by their paths ("recipe.lr")."""


class Domain(Spec):
    """What all domains share: `when` says at which values of earlier parameters this one exists;
    elsewhere it keeps the study's own value."""

    when: dict[str, tuple[Value, ...]] | None = Field(
        None, description="values of earlier parameters at which this one exists; default: always"
    )

    def active(self, point: Point) -> bool:
        """Does the parameter exist, given the earlier parameters' values?"""
        return all(point.get(name) in values for name, values in (self.when or {}).items())

    @property
    def samples(self) -> tuple[Value, ...]:
        """Values that tell whether every value fits a field: the ends and one between, or all."""
        raise NotImplementedError

    def holds(self, value: Value) -> bool:
        """Is the value in the domain?"""
        low, *_, high = self.samples
        return not isinstance(value, str) and low <= value <= high  # type: ignore[operator]


class LogUniform(Domain):
    """Real numbers in [a, b], every factor as likely as another."""

    log_uniform: tuple[Number, Number] = Field(
        description="real numbers, every factor as likely as another"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        low, high = self.log_uniform
        if not 0 < low < high:
            raise ValueError(f"log_uniform takes [a, b] with 0 < a < b, not [{low:g}, {high:g}]")
        return self

    @property
    def samples(self) -> tuple[Value, ...]:
        low, high = self.log_uniform
        return (low, _inside(low, high), high)


class Uniform(Domain):
    """Real numbers in [a, b]."""

    uniform: tuple[Number, Number] = Field(description="real numbers")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        low, high = self.uniform
        if not low < high:
            raise ValueError(f"uniform takes [a, b] with a < b, not [{low:g}, {high:g}]")
        return self

    @property
    def samples(self) -> tuple[Value, ...]:
        low, high = self.uniform
        return (low, _inside(low, high), high)


class Whole(Domain):
    """Whole numbers from a to b."""

    model_config = ConfigDict(serialize_by_alias=True)

    bounds: tuple[StrictInt, StrictInt] = Field(alias="int", description="whole numbers")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"int takes [a, b] with a < b, not [{low}, {high}]")
        return self

    @property
    def samples(self) -> tuple[Value, ...]:
        return self.bounds

    def holds(self, value: Value) -> bool:
        return isinstance(value, int) and super().holds(value)


class LogWhole(Domain):
    """Whole numbers from a to b, every factor as likely as another."""

    log_int: tuple[StrictInt, StrictInt] = Field(
        description="whole numbers, every factor as likely as another"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        low, high = self.log_int
        if not 0 < low < high:
            raise ValueError(f"log_int takes [a, b] with 0 < a < b, not [{low}, {high}]")
        return self

    @property
    def samples(self) -> tuple[Value, ...]:
        return self.log_int

    def holds(self, value: Value) -> bool:
        return isinstance(value, int) and super().holds(value)


class Choice(Domain):
    """One of the values listed, without an order."""

    choice: tuple[Value, ...] = Field(min_length=1, description="the values, without an order")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.choice)) != len(self.choice):
            raise ValueError(f"choice has a value twice: {list(self.choice)}")
        return self

    @property
    def samples(self) -> tuple[Value, ...]:
        return self.choice

    def holds(self, value: Value) -> bool:
        return value in self.choice


_KINDS: dict[str, type[Domain]] = {
    "log_uniform": LogUniform,
    "uniform": Uniform,
    "int": Whole,
    "log_int": LogWhole,
    "choice": Choice,
}


def _kind(value: Any) -> str | None:
    """Which of the domains a mapping means: the one whose name is a field of it."""
    if isinstance(value, dict):
        return next((kind for kind in _KINDS if kind in value), None)
    return next((kind for kind, model in _KINDS.items() if isinstance(value, model)), None)


AnyDomain = Annotated[
    Annotated[LogUniform, Tag("log_uniform")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Whole, Tag("int")]
    | Annotated[LogWhole, Tag("log_int")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(
        _kind,
        custom_error_type="domain",
        custom_error_message="a domain is one of {log_uniform: [a, b]}, {uniform: [a, b]}, "
        "{int: [a, b]}, {log_int: [a, b]}, {choice: [..]}",
    ),
]

Space = dict[str, AnyDomain]
"""Domains by the path of what they set, in the order in which they are drawn."""


def _inside(low: float, high: float) -> float:
    """A number between that is whole for hardly any bounds: whole fields must refuse it."""
    return low + (high - low) * 0.381966
