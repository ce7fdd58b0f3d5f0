"""python -m analysis search: the trials of a hyper-parameter search."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.options import Format, StudyName, TrackingUri


def search(
    study: StudyName = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for parallel.png and pareto.png.")
    ] = None,
    where: Annotated[str | None, typer.Option(help='Rows to show, as in "RA > 0.5".')] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show: a,b,c.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column; -COLUMN for descending.")] = None,
    form: Format = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """Every finished trial of a hyper-parameter search, and its figures."""
    from analysis import figures
    from analysis.figures.search import parallel, pareto
    from analysis.query import filters
    from analysis.store import load
    from analysis.tables import people

    if out is not None:
        figures.check_path(out / "parallel.png")
    content, table = load.search_trials(study, tracking_uri)
    chosen = filters.select(table, where, columns, sort)
    if table.empty:
        command = f"python -m tuner search {load.load(study, tracking_uri).origin}"
        print(f"nothing to list in {content.name} yet: {command}", file=sys.stderr)
        return 1
    print(people.formatted(chosen, form))
    if out is not None:
        drawn = {"parallel": parallel}
        if table["RA"].notna().any():
            drawn["pareto"] = pareto
        for name, draw in drawn.items():
            figures.save(draw(content, table), out / f"{name}.png")
            print(f"wrote {out / name}.png", file=sys.stderr)
    return 0
