"""YAML by the safe loader, bounded: no document is slow to read or large when it has been read."""

from collections.abc import Iterator
from typing import Any

import yaml

# PyYAML reads a megabyte in half a minute, and a few aliases can stand for billions of values.
MOST_CHARACTERS = 100_000
MOST_VALUES = 10_000
DEEPEST = 50


def load(text: str) -> Any:
    """The values of a YAML document. Raises yaml.YAMLError for text that is not YAML, that is
    longer, deeper or (with every alias written out) of more values than the bounds above, that has
    an alias within what it stands for, or a field twice; and whatever PyYAML lets out."""
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"more than {MOST_CHARACTERS} characters: make it shorter")
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """The bounds hold for the document's nodes: before an alias is followed or a value is made."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values: dict[yaml.Node, int] = {}
        """Each node composed so far -> how many values it stands for."""
        self._above: list[str | None] = []
        """The anchors, or None, of the nodes that are being composed, outermost first."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent) and anchor in self._above:
            raise _refusal(f"*{anchor} is used within what it stands for: write it out", event)
        if len(self._above) == DEEPEST:
            raise _refusal(f"nested more than {DEEPEST} deep: make it flatter", event)
        self._above.append(anchor)
        node = super().compose_node(parent, index)
        self._above.pop()
        if node is not None and node not in self._values:
            self._values[node] = 1 + sum(self._values[child] for child in _children(node))
            if max(len(self._values), self._values[node]) > MOST_VALUES:
                raise _refusal(
                    f"more than {MOST_VALUES} values, aliases written out: make it smaller", event
                )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a field that is written twice: one of the two would be lost."""
        names: set[str] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value != "<<":
                if name.value in names:
                    raise _refusal(f"field {name.value} is written twice", node)
                names.add(name.value)
        return super().construct_mapping(node, deep)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _refusal(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)
