"""python -m analysis trials, compare, show: asking a study for numbers."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from analysis.options import (
    Storage,
    StudyName,
    TableFormat,
    TrackingUri,
    load_study,
    nothing,
)

app = typer.Typer()

Key = Annotated[
    str,
    typer.Argument(help="A key, a prefix of just one, or a ticket: THETA/PRUNING/LEVEL[@SEED]."),
]


@app.command()
def trials(
    study: StudyName = None,
    where: Annotated[
        str | None, typer.Option(help="Rows to show, as in \"theta == 'standard' and SA > 0.9\".")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show: a,b,c.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column; -COLUMN for descending.")] = None,
    group_by: Annotated[
        str | None, typer.Option(help="One row per value of these: theta,level.")
    ] = None,
    agg: Annotated[
        str, typer.Option(help="With --group-by: of mean, std, n, min, max, median.")
    ] = "mean,std,n",
    limit: Annotated[int | None, typer.Option(min=1, help="Show this many rows.")] = None,
    form: TableFormat = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """Every finished transfer: one row each, or statistics of groups of them."""
    results = load_study(study, tracking_uri)

    from analysis.query import filters
    from analysis.tables import text as tables
    from analysis.verdict.results import LABELS

    if group_by is None:
        chosen = filters.select(results.table, where, columns, sort)
    else:
        rows = filters.select(results.table, where)
        chosen = filters.select(filters.grouped(rows, group_by, agg, columns), sort=sort)
        pooled = [name for name in filters.pooled(rows, group_by, LABELS) if name != "sparsity"]
        if pooled:
            print(f"note: each row is over all of {', '.join(pooled)}", file=sys.stderr)
    if results.table.empty:
        return nothing("list", results)
    shown = chosen if limit is None else chosen.head(limit)
    if len(shown) < len(chosen):
        print(f"note: the first {len(shown)} of {len(chosen)} rows", file=sys.stderr)
    print(tables.format_table(shown, form))
    return 0


@app.command()
def compare(
    a: Key,
    b: Key,
    study: StudyName = None,
    form: TableFormat = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """Two tickets, or two transfers: their differences, paired by seed, with 95 % intervals."""
    results = load_study(study, tracking_uri)

    from analysis.query import compare, find
    from analysis.tables import text as tables

    named = [find.find(text, results.study, results.cells) for text in (a, b)]
    differences = compare.compare(named, results.table)
    if form == "table":
        for letter, (key, cell) in zip("ab", named, strict=True):
            print(f"{letter}: {find.title(cell)}  ({key})")
        print("shares in [0, 1]; difference: a - b; low, high: Student's 95 % interval over seeds")
    print(tables.format_table(differences, form))
    return 0


@app.command()
def show(
    key: Key,
    study: StudyName = None,
    storage: Storage = Path("results"),
    form: Annotated[Literal["table", "json"], typer.Option("--format")] = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """All about one theta, ticket or transfer: settings, scores, epochs, relatives, files."""
    from analysis.query import find
    from analysis.query import show as details
    from analysis.store import runs
    from analysis.store.load import load

    uri = runs.address(tracking_uri)
    results = load(study, uri)
    with runs.opened(uri) as opened:
        described = details.describe(
            *find.find(key, results.study, results.cells), results, opened, storage, uri
        )
    print(_as_json(described) if form == "json" else "\n".join(details.lines(described)))
    return 0


def _as_json(sections: dict[str, Any]) -> str:
    from analysis.tables.text import records

    content = {
        name: records(part) if hasattr(part, "to_json") else part for name, part in sections.items()
    }
    return json.dumps(content, indent=2, ensure_ascii=False)
