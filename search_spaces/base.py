"""What all specs share: frozen models, and the kinds of values their fields take."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.config import JsonDict

from search_spaces import own


def _from_fraction(value: Any) -> Any:
    """Reads '8/255' or '0.5/255' as a number; anything else is left to pydantic."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = value.split("/")
        try:
            return float(above) / float(below)
        except (ValueError, ArithmeticError):
            return value
    return value


_Fraction = Annotated[str, Field(pattern=r"^[0-9.e+-]+/[0-9.e+-]+$")]
Number = Annotated[float, BeforeValidator(_from_fraction, json_schema_input_type=float | _Fraction)]
_Pixels = Annotated[float, Field(gt=0, le=1)]
Pixels = Annotated[
    _Pixels, BeforeValidator(_from_fraction, json_schema_input_type=_Pixels | _Fraction)
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""A content key, as `keys.key` gives it."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]

UNHASHED: JsonDict = {"hashed": False}
"""Marks a field that says where something is, not what it is: it does not enter keys."""

LATER: JsonDict = {"hashed": "unless default"}
"""Marks a field that came after results had keys: at its default it does not enter them."""

_OWN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


@dataclass(frozen=True)
class OwnOr:
    """Of a text field: built in, by these names, or the user's own, as package.module:object, or as
    an installed package offers it: `plugins` says of which group."""

    names: tuple[str, ...]
    plugins: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return handler(Annotated[source, AfterValidator(self._checked)])

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> JsonDict:
        named: JsonDict = {"type": "string", "pattern": _OWN}
        return {"anyOf": [{"enum": list(self.names), "type": "string"}, named]}

    def _checked(self, value: str) -> str:
        if value in self.names or re.match(_OWN, value):
            return value
        if target := own.meant(self.plugins, value):
            return target
        raise ValueError(f"write {', '.join(self.names)}, or your own as package.module:object")


def named_in(spec: BaseModel) -> set[str]:
    """Every package.module:object, and every LIBRARY:NAME, that a spec names."""
    texts: list[Any] = [spec.model_dump()]
    named = set()
    while texts:
        match texts.pop():
            case str(text) if re.match(_OWN, text):
                named.add(text)
            case dict(inside):
                texts += inside.values()
            case list(inside) | tuple(inside):
                texts += inside
    return named


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""As numpy takes them."""


class Spec(BaseModel):
    """A frozen value object: unknown fields are refused, equal content means equal specs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
