"""What two studies set differently."""

from collections.abc import Iterator
from typing import Any

from search_spaces.study import Study

ABSENT = "-"
_IN_PIXELS = {"epsilon", "alpha"}


def differences(first: Study, second: Study) -> list[tuple[str, str, str]]:
    """(field, first's value, second's value) for every field that differs, in the first's order.

    Fields are dotted paths as `--set` takes them; '-' stands for a field that a study lacks. The
    studies' names are not compared, nor what they search: a run trains none of it.
    """
    one, two = (dict(_written(_fields(study))) for study in (first, second))
    return [
        (name, one.get(name, ABSENT), two.get(name, ABSENT))
        for name in dict.fromkeys([*one, *two])
        if one.get(name, ABSENT) != two.get(name, ABSENT)
    ]


def _fields(study: Study) -> dict[str, Any]:
    return study.model_dump(mode="json", exclude_none=True, exclude={"name", "search"})


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of all that nested mappings hold, and lists in which there are mappings; any
    other list is a value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, item in enumerate(value):
            yield from leaves(item, (*path, str(place)))
    else:
        yield path, value


def _written(fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, value in leaves(fields):
        if value != []:
            yield ".".join(path), _as_people_write(path[-1], value)


def _as_people_write(name: str, value: Any) -> str:
    """A value as people write it: 2/255 where that is what it is."""
    fraction = ""
    if name in _IN_PIXELS and abs(510 * value - round(510 * value)) < 1e-9:
        fraction = f"{round(510 * value) / 2:g}/255"
    return fraction if 0 < len(fraction) < len(str(value)) else str(value)
