"""python -m analysis curves: metrics over sparsity."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.options import StudyName, TrackingUri, load_study, nothing


def curves(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")] = Path("curves.png"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Draw each metric over sparsity, with what both rules arrive at marked."""
    from analysis import figures
    from analysis.store import evidence, runs

    figures.check_path(out)
    results = load_study(study, tracking_uri, with_correct=True)
    if not (results.table["level"] > 0).any():
        return nothing("draw", results)
    flags = evidence.flags(results.parent, runs.address(tracking_uri))
    figures.save(figures.curves(results, flags), out)
    print(f"wrote {out}")
    return 0
