"""python -m analysis show: one theta, ticket or transfer in full."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from analysis.options import Key, Storage, StudyName, TrackingUri


def show(
    key: Key,
    study: StudyName = None,
    storage: Storage = Path("results"),
    form: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """All about one theta, ticket or transfer: settings, scores, epochs, relatives, files."""
    from analysis.query import find
    from analysis.query.show import describe, lines
    from analysis.store import runs
    from analysis.store.load import load

    uri = runs.address(tracking_uri)
    results = load(study, uri)
    with runs.opened(uri) as opened:
        described = describe(
            *find.find(key, results.study, results.cells), results, opened, storage, uri
        )
    print(_as_json(described) if form == "json" else "\n".join(lines(described)))
    return 0


def _as_json(sections: dict[str, Any]) -> str:
    from analysis.tables.text import records

    content = {
        name: records(part) if hasattr(part, "to_json") else part for name, part in sections.items()
    }
    return json.dumps(content, indent=2, ensure_ascii=False)
