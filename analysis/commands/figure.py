"""python -m analysis figure: a figure of the paper."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.options import StudyName, TrackingUri, load_study, nothing
from search_spaces.errors import InputError

FigureName = Literal["fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "a8", "a9", "a10"]


def figure(
    name: Annotated[FigureName, typer.Argument(help="Its number in the paper.")],
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="A folder; made if missing.")] = Path("figures"),
    level: Annotated[
        int | None,
        typer.Option(min=1, help="a10, fig7: this level, not the extreme or the last common one."),
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=2, max=40, help="In inches; type stays readable at it.")
    ] = None,
    tracking_uri: TrackingUri = None,
) -> int:
    """Draw a figure of the paper from a study: NAME.png, .pdf, .svg and its data, NAME.csv."""
    if level is not None and name not in ("a10", "fig7"):
        raise InputError(f"--level {level}: only a10 and fig7 take it: leave it out for {name}")
    results = load_study(study, tracking_uri, with_correct=True)
    if not (results.table["level"] > 0).any():
        return nothing("draw", results)
    from analysis.figures import named, style
    from analysis.store import evidence, runs

    uri = runs.address(tracking_uri)
    if name in named.OVER_EVIDENCE:
        gathered = evidence.read(results.parent, uri)
        rows, drawn = named.over_evidence(name, gathered, results.study, level)
    else:
        flags = evidence.flags(results.parent, uri)
        rows, drawn = named.over_scores(name, results, flags, level)
    if width is not None:
        style.resize(drawn, width)
    for path in named.write(name, rows, drawn, out):
        print(f"wrote {path}")
    return 0
