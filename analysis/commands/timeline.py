"""python -m analysis timeline: who ran when."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.options import StudyName, TrackingUri, load_study, nothing


def timeline(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")] = Path("timeline.png"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Draw which chains and transfers ran when, and say how busy the slots were."""
    from analysis import figures
    from analysis.figures.over_time import overlap, placed
    from analysis.store.spans import spans

    figures.check_path(out)
    results = load_study(study, tracking_uri)
    table = spans(results, tracking_uri)
    if table["stage"].nunique() < 2 or "transfer" not in set(table["stage"]):
        return nothing("draw", results)
    rows = placed(table)
    seen = overlap(rows)
    print(
        f"{len(rows)} results in {seen.wall:.0f} s; the first ticket was there after "
        f"{seen.first_source:.0f} s, the first transfer began after {seen.first_transfer:.0f} s, "
        f"the last ticket was there after {seen.last_source:.0f} s; from the first ticket on "
        f"{seen.busy:.0%} of {seen.slots} slots were busy"
    )
    figures.save(figures.timeline(rows), out)
    print(f"wrote {out}")
    return 0
