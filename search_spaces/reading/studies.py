"""From a shipped name or a YAML file, plus overrides, to a validated study."""

import difflib
import os
from collections.abc import Sequence
from copy import copy
from importlib.resources import files
from pathlib import Path
from reprlib import Repr
from typing import Any

from pydantic import ValidationError

from search_spaces.errors import InputError
from search_spaces.reading import bounded_yaml, fitting
from search_spaces.searches.adaptive import LISTED, SEARCHED
from search_spaces.study import Study

_SHIPPED = files("search_spaces") / "studies"
# Faulty values are shown in part.
_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


def shipped() -> dict[str, str]:
    """Name -> YAML text of every study that travels with the package."""
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(_SHIPPED.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def head_comment(text: str) -> str:
    """The comment lines that open a study's YAML, without their '#'."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    return "\n".join(lines)


def load(study: str, overrides: Sequence[str] = (), fragments: Sequence[Path] = ()) -> Study:
    """Reads a shipped study by name, or a YAML file by path, and applies overrides: those of
    `fragments`, files, first, then `a.b.0.c=value`.

    Raises InputError naming the file or the field, the rule and the remedy.
    """
    data = parse(_text(study), study)
    for fragment in fragments:
        for path, value in _fragment(fragment).items():
            _put(data, path, value, f"{fragment}: {path}")
    for override in overrides:
        _override(data, override)
    return validate(data, study)


def parse(text: str, origin: str) -> dict[str, Any]:
    """YAML text to a mapping, by the safe loader; `origin` names it in errors."""
    data = yaml_value(text, f"{origin}: not valid YAML")
    if not isinstance(data, dict):
        raise InputError(f"{origin}: a study is a YAML mapping with name, source, downstream, ...")
    return data


def validate(data: dict[str, Any], origin: str) -> Study:
    """A mapping to a Study; raises InputError with the path and the rule of the first fault."""
    try:
        study = Study.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{origin}: {explain(error)}") from None
    try:
        fitting.check(study)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    return study


def yaml_value(text: str, what: str) -> Any:
    """What YAML says, by the safe loader; `what` begins the refusal of text that is not YAML."""
    try:
        return bounded_yaml.load(text)
    except Exception as error:  # PyYAML lets out what a wrong date or deep nesting raises inside.
        raise InputError(f"{what}: {error}") from None


def _text(study: str) -> str:
    known = shipped()
    if study in known:
        return known[study]
    path = Path(study)
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):
        return _read(path, f"study {study}")
    near = difflib.get_close_matches(study, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(known)};"
    raise InputError(f"study {study}: unknown: {hint} a path to your own must end in .yaml")


def _read(path: Path, place: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(bounded_yaml.MOST_CHARACTERS + 1)
    except UnicodeDecodeError:
        raise InputError(f"{place}: cannot be read: not a UTF-8 text file") from None
    except (OSError, ValueError) as error:  # ValueError: no path at all, as with a NUL in it.
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{place}: cannot be read: {reason}") from None


def _fragment(path: Path) -> dict[str, Any]:
    """A file of overrides: a YAML mapping PATH: VALUE, as a search writes it."""
    data = yaml_value(_read(path, f"--with {path}"), f"--with {path}: not valid YAML")
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise InputError(
            f"--with {path}: must map paths to values, as in downstream.0.seeds: [0, 1]"
        )
    return data


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(f"--set {override}: write PATH=VALUE, as in downstream.0.seeds=[0,1]")
    value = yaml_value(text, f"--set {override}: the value is not valid YAML")
    _put(data, path, value, f"--set {override}")


def _put(data: dict[str, Any], path: str, value: Any, place: str) -> None:
    """Sets what is at a dotted path; `place` names it in errors."""
    *parents, last = path.split(".")
    node: Any = data
    while parents:
        # A search's space has names with dots in them.
        if isinstance(node, dict) and ".".join([*parents, last]) in node:
            parents, last = [], ".".join([*parents, last])
            break
        part = parents.pop(0)
        # An anchored node is shared between places: only this place is to change.
        child = copy(_child(node, part, place))
        node[int(part) if isinstance(node, list) else part] = child
        node = child
    if isinstance(node, list):
        _child(node, last, place)
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        above = path.removesuffix(f".{last}")
        raise InputError(f"{place}: {above} is a single value, not a mapping")


def _child(node: Any, part: str, place: str) -> Any:
    if isinstance(node, list):
        if part.isdecimal() and len(part) < 10 and int(part) < len(node):
            return node[int(part)]
        raise InputError(f"{place}: {part} is not a place in a list of {len(node)}")
    if isinstance(node, dict) and part in node:
        return node[part]
    known = ", ".join(map(str, node)) if isinstance(node, dict) else "nothing below it"
    raise InputError(f"{place}: no field {part} there (known: {known})")


def explain(error: ValidationError) -> str:
    """The place and the rule of the first fault, and how many more there are."""
    first, *others = error.errors(include_url=False)
    place = ".".join(str(part) for part in first["loc"] if part not in (LISTED, SEARCHED))
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    if first["type"] == "extra_forbidden":
        message = "unknown field"
    elif first["type"] == "missing":
        message = "this field is required"
    shown = ""
    if not isinstance(given, dict) and first["type"] != "missing":
        shown = f" (got {_shown(given)})"
    more = f"; and {len(others)} more" if others else ""
    return f"{place + ': ' if place else ''}{message}{shown}{more}"


def _shown(value: Any) -> str:
    try:
        return f"{_BRIEF.repr(value):.80}"
    except ValueError:  # An integer of more digits than Python is willing to print.
        return "a huge number"
