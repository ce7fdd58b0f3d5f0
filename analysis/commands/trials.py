"""python -m analysis trials: finished transfers, or groups of them."""

import sys
from typing import Annotated

import typer

from analysis.options import StudyName, TableFormat, TrackingUri, load_study, nothing


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
    """Every finished transfer: one row each, or statistics of groups of them.

    Tables are in percent; csv and json, --where and --sort have shares in [0, 1].
    """
    results = load_study(study, tracking_uri)

    from analysis.query import filters
    from analysis.tables import people
    from analysis.verdict.results import LABELS

    if group_by is None:
        chosen = filters.select(results.table, where, columns, sort)
        if columns is None and form not in people.DATA:
            chosen = people.brief(chosen, LABELS)
    else:
        rows = filters.select(results.table, where)
        chosen = filters.select(filters.grouped(rows, group_by, agg, columns), sort=sort)
        pooled = filters.pooled(rows, group_by, LABELS)
        if pooled:
            print(f"note: each row is over all of {', '.join(pooled)}", file=sys.stderr)
    if results.table.empty:
        return nothing("list", results)
    shown = chosen if limit is None else chosen.head(limit)
    if len(shown) < len(chosen):
        print(f"note: the first {len(shown)} of {len(chosen)} rows", file=sys.stderr)
    print(people.formatted(shown, form))
    return 0
