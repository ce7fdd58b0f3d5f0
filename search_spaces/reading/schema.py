"""What a study file may hold: as a JSON schema, for editors, and as a page, for people. Both come
from the models themselves."""

import json
import re
from collections.abc import Iterator
from typing import Any

from search_spaces.study import Study

Node = dict[str, Any]
"""A part of a JSON schema."""

_HEAD = """# Fields

A study is one YAML file: the fields of [Study](#study) and of what they hold. Unknown fields are
refused. This page is what `python -m tuner schema --markdown` prints; `python -m tuner schema`
prints the same as a JSON schema, for editors that complete and check YAML.
"""
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def json_schema() -> Node:
    """The JSON schema (draft 2020-12) of study files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Study.model_json_schema()}


def page() -> str:
    """A Markdown page: a section for each model, a row for each of its fields."""
    schema = Study.model_json_schema()
    models = {"Study": schema, **schema["$defs"]}
    sections = [_section(name, models[name]) for name in _reached("Study", models)]
    return "\n".join([_HEAD, *sections])


def _reached(first: str, models: dict[str, Node]) -> list[str]:
    """The models below one, each once, in the order in which a reader meets them."""
    order: list[str] = []
    waiting = [first]
    while waiting:
        name = waiting.pop(0)
        if name not in order:
            order.append(name)
            waiting += _references(models[name].get("properties", {}))
    return order


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield _target(node)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _target(node: Node) -> str:
    return str(node["$ref"].rsplit("/", 1)[-1])


def _section(name: str, model: Node) -> str:
    rows = [
        f"| `{field}` | {takes(node)} | {_default(field, node, model)} | {_cell(node)} |"
        for field, node in model["properties"].items()
    ]
    about = "\n\n".join(map(_paragraph, model.get("description", "").split("\n\n")))
    titles = ["| field | takes | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {name}", "", about, "", *titles, *rows, ""])


def _paragraph(text: str) -> str:
    """A paragraph of a docstring; lines `word: what it means` are a list."""
    if not re.match(r"\w+: ", text):
        return text
    return re.sub(r"(?m)^(\w+): +", r"- `\1`: ", re.sub(r"(?m)^ +", "  ", text))


def _cell(node: Node) -> str:
    return str(node.get("description", "")).replace("|", "\\|")


def _default(field: str, node: Node, model: Node) -> str:
    if field in model.get("required", ()):
        return "required"
    value = node.get("default", node.get("const"))
    if not value and value not in (0, False):
        return ""
    if isinstance(value, dict) and not any(each is not None for each in value.values()):
        return ""
    return f"`{json.dumps(value)}`"


def takes(node: Node) -> str:
    """The values that a field takes, in words, with links to the models among them."""
    match node:
        case {"$ref": _}:
            return f"[{_target(node)}](#{_target(node).lower()})"
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"anyOf": ways} | {"oneOf": ways}:
            words = (takes(way) for way in ways if way.get("type") != "null")
            return " or ".join(dict.fromkeys(words))
        case {"type": "array", "prefixItems": [first, *_]}:
            return f"[a, b]: {takes(first)}"
        case {"type": "array"}:
            return f"list of {takes(node['items'])}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"mapping of names to {takes(values)}"
        case {"type": "object", "patternProperties": values}:
            return f"mapping of names to {takes(next(iter(values.values())))}"
        case {"type": "string", "pattern": pattern} if "/" in pattern:
            return "a fraction as 8/255"
        case {"type": "string", "pattern": pattern} if pattern.endswith(r":[A-Za-z_]\w*$"):
            return "`package.module:object`"
    kind = {"string": "text", "boolean": "true or false", "integer": "whole number"}
    bounds = [f"{sign} {node[name]}" for name, sign in _BOUNDS.items() if name in node]
    return " ".join([str(kind.get(node["type"], node["type"])), ", ".join(bounds)]).strip()
