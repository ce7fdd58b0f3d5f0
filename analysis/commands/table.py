"""python -m analysis table: a table of the paper."""

import sys
from typing import Annotated, Literal

import typer

from analysis.options import StudyName, TableFormat, TrackingUri, load_study, nothing
from search_spaces.errors import InputError


def table(
    name: Annotated[Literal["extreme", "levels", "ticks", "cost"], typer.Argument()],
    study: StudyName = None,
    level: Annotated[int | None, typer.Option(min=1, help="ticks: at this level.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="ticks: at this %, as 79.03.")] = None,
    form: TableFormat = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """A table of the paper: extreme sparsities, levels' scores, winning ticks, or costs."""
    for flag, value in (("level", level), ("sparsity", sparsity)):
        if value is not None and name != "ticks":
            raise InputError(f"--{flag} {value:g}: only ticks takes it: leave it out for {name}")
    results = load_study(study, tracking_uri)
    if not (results.table["level"] > 0).any():
        return nothing("judge", results)
    from analysis.store import evidence, runs
    from analysis.store.load import source_seconds
    from analysis.tables import paper, people
    from analysis.tables.rules import flagged_lines
    from analysis.tables.text import format_table
    from analysis.verdict import flags, one_std

    rows, content = results.expected, results.study
    thetas = list(content.source.pretrainings)
    if name == "extreme":
        printed = paper.extreme_table(rows, content)
    elif name == "ticks":
        printed = paper.ticks(rows, content, level, sparsity)
    elif name == "levels":
        printed = paper.levels(rows, content)
        printed = printed if form in people.DATA else paper.levels_in_short(printed)
    else:
        printed = paper.cost(results.table, content, source_seconds(results, tracking_uri))
    if name == "extreme" and form == "latex":
        print(format_table(people.for_paper(printed, thetas), form))
    else:
        print(people.formatted(printed, form, thetas))
    if len(raised := evidence.flags(results.parent, runs.address(tracking_uri))):
        judged = one_std.extreme(rows)
        judged["flagged"] = flags.open_flags(judged, raised, content.looked_at)
        for line in flagged_lines(judged):
            print(line, file=sys.stderr)
    return 0
