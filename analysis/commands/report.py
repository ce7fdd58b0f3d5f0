"""python -m analysis report: the study on one page."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.options import StudyName, TrackingUri, load_study, nothing
from search_spaces.errors import InputError


def report(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="An .html file.")] = Path("report.html"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Write the study on one page: verdicts, curves, tables, evidence, settings."""
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"--out {out}: is a web page: the name must end in .html")
    results = load_study(study, tracking_uri, with_correct=True)
    if results.table.empty:
        return nothing("report", results)
    from analysis.report import page
    from analysis.store import runs

    text = page.of(results, runs.address(tracking_uri))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from None
    print(f"wrote {out}")
    return 0
