"""Data sets of the user's own, or of an installed package: functions that return arrays."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from search_spaces.errors import InputError
from trainables.runtime.own import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("train_x", "train_y", "test_x", "test_y")


# A function may read files or draw images: it is called once for each set in use.
@lru_cache(maxsize=2)
def arrays(name: str) -> "Mapping[str, NDArray[Any]]":
    """What package.module:function returns: train_x, train_y, test_x, test_y, as an npz file holds
    them. Raises InputError where it cannot be imported, raises, or returns something else."""
    import numpy as np

    function = load(name)
    try:
        given = function()
    except Exception as error:  # Users raise anything.
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise InputError(f"dataset {name}: {reason}") from error
    found = given if isinstance(given, Mapping) else {}
    lacking = [each for each in NAMES if not isinstance(found.get(each), np.ndarray)]
    if lacking:
        raise InputError(
            f"dataset {name}: returns no array {lacking[0]}: return a dict of {', '.join(NAMES)}"
        )
    return {each: np.ascontiguousarray(found[each]) for each in NAMES}


def digest(name: str) -> str:
    """Hexadecimal SHA-256 of what package.module:function returns: shapes, types and values."""
    whole = hashlib.sha256()
    for each, values in arrays(name).items():
        whole.update(f"{each} {values.dtype.str} {values.shape}".encode())
        whole.update(values.data)
    return whole.hexdigest()
