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
    """Draw each metric over sparsity, with the extreme double wins marked."""
    from analysis import figures

    figures.check_path(out)
    results = load_study(study, tracking_uri)
    random = [name for name, plan in results.study.pruning.items() if plan.method == "random"]
    if not (results.table["level"] > 0).any():
        return nothing("draw", results)
    figures.save(figures.curves(results.expected, random), out)
    print(f"wrote {out}")
    return 0
