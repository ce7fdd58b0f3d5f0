"""python -m analysis paper: the paper, item by item."""

import json
from typing import Annotated

import typer

from analysis.options import Format, TrackingUri


def paper(
    study: Annotated[
        str | None,
        typer.Option("--study", help="Answers by this study alone. Default: by all in the store."),
    ] = None,
    form: Format = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """Every figure, table and claim of the paper: answered here, or runnable and at what cost."""
    from analysis.reproduction import reading, table
    from analysis.tables.text import format_table, records

    held = reading.held(study, tracking_uri)
    (only,) = held if study else (None,)
    found = table.rows(held, only)
    if form == "json":
        print(json.dumps(records(table.frame(found)), indent=2, ensure_ascii=False))
    elif form == "csv":
        print(format_table(table.frame(found), "csv"))
    else:
        print("\n".join(table.lines(found)))
    return 0
