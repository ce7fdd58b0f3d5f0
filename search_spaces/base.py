"""What all specs share: frozen models, and the kinds of values their fields take."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict


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

Own = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
"""Something of the user's own, by name: package.module:object."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""As numpy takes them."""


class Spec(BaseModel):
    """A frozen value object: unknown fields are refused, equal content means equal specs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
