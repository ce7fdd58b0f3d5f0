"""python -m analysis collapse: robust accuracy over epochs."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.options import StudyName, TrackingUri, load_study, nothing


def collapse(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")] = Path("collapse.png"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Draw PGD and FGSM accuracy over epochs of the transfers watched for collapse."""
    from analysis import figures
    from analysis.store import load

    figures.check_path(out)
    results = load_study(study, tracking_uri)
    probes = load.probe_curves(results, tracking_uri)
    if probes.empty:
        return nothing("draw", results)
    figures.save(figures.collapse(probes), out)
    print(f"wrote {out}")
    return 0
