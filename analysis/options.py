"""What the commands share: options, opening a study, and what is said when there is nothing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from analysis.store.load import TrackedResults
    from analysis.verdict.results import Results

Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format")]
TableFormat = Annotated[
    Literal["table", "csv", "json", "markdown", "latex"], typer.Option("--format")
]
StudyName = Annotated[
    str | None,
    typer.Option(
        "--study",
        help="Its name, or one of its versions, NAME@DIGEST. Default: the latest complete one.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow's store. Default: $MLFLOW_TRACKING_URI or sqlite:///mlflow.db."),
]
Key = Annotated[
    str,
    typer.Argument(
        help="A key, a prefix of just one, a ticket, THETA/PRUNING/LEVEL[@SEED], or a transfer, "
        "that and /DATASET/REGIME/SEED."
    ),
]
Storage = Annotated[Path, typer.Option(help="Folder of finished results that the run was given.")]

SHOWN_MISSING = 3


def load_study(
    study: str | None, tracking_uri: str | None, with_correct: bool = False
) -> "TrackedResults":
    """Reads a study, as `load` does, and says on stderr what of it is missing."""
    from analysis.store.load import load

    results = load(study, tracking_uri, with_correct)
    _name_versions(results, study)
    _name_missing(results)
    return results


def _name_versions(results: "TrackedResults", asked: str | None) -> None:
    """Which version of several this is, and which others there are, unless one was asked for."""
    from analysis.store.versions import MARK, title

    if len(results.versions) < 2 or MARK in (asked or ""):
        return
    others = ", ".join(
        f"{title(version, results.versions)} ({'complete' if version.complete else 'incomplete'})"
        for version in reversed(results.versions)
        if version != results.version
    )
    print(f"note: this is {results.title}; there is {others}: --study NAME@...", file=sys.stderr)


def _name_missing(results: "Results") -> None:
    """What is not there is said, and never on stdout."""
    missing = results.missing
    if missing.empty:
        return
    named = [
        ", ".join(f"{label}={value}" for label, value in row.items())
        for row in missing.drop(columns=["sparsity", "key"]).head(SHOWN_MISSING).to_dict("records")
    ]
    if len(missing) > SHOWN_MISSING:
        named.append(f"and {len(missing) - SHOWN_MISSING} more")
    total = len(results.expected)
    print(f"missing: {len(missing)} of {total} transfers: {'; '.join(named)}", file=sys.stderr)


def nothing(what: str, results: "TrackedResults") -> int:
    """Says that the study has nothing to show yet; the exit code of that."""
    name = results.study.name
    command = f"python -m tuner run {results.origin}"
    print(f"nothing to {what} in {name} yet: {command}", file=sys.stderr)
    return 1
