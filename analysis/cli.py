"""python -m analysis: verdicts, trials and curves of the studies that MLflow holds."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search_spaces.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Results

# pandas, mlflow and matplotlib are imported by the commands: --help must not wait for them.

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Verdicts, trials and curves of the studies that MLflow holds.",
)

Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format")]
StudyName = Annotated[str | None, typer.Option("--study", help="Its name. Default: the latest.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow's store. Default: $MLFLOW_TRACKING_URI or sqlite:///mlflow.db."),
]

SHOWN_MISSING = 3
_FIELDS = {"one-std": "extreme", "non-inferiority": "non_inferiority"}
_UNJUDGED = "no pruned ticket of {} is under both the standard and the adversarial regime"


@app.command()
def extreme(
    study: StudyName = None,
    rule: Annotated[
        Literal["both", "one-std", "non-inferiority"],
        typer.Option(help="The paper's, or by confidence bounds on the difference to dense."),
    ] = "both",
    form: Format = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """The largest sparsity that is a double win, for each theta, pruning and task."""
    results = _load(study, tracking_uri)

    from analysis import rules, tables, verdict

    judged = verdict.extreme(results.expected)
    shown = rules.non_inferiority(results.study, results.expected, results.correct)
    if judged.empty:
        print(f"nothing to judge: {_UNJUDGED.format(results.study.name)}", file=sys.stderr)
        return 1
    if not judged["levels_complete"].any():
        return _nothing("judge", results)
    by_rule = {"one-std": judged, "non-inferiority": shown}
    chosen = by_rule if rule == "both" else {rule: by_rule[rule]}
    if form == "json":
        content = {
            "study": results.study.name,
            "rule": verdict.RULE,
            **{_FIELDS[name]: tables.records(table) for name, table in chosen.items()},
            "missing": [{**cell.labels, "key": cell.key} for cell in results.missing],
        }
        print(json.dumps(content, indent=2, ensure_ascii=False))
    elif form == "csv":
        print("\n\n".join(tables.format_table(table, "csv") for table in chosen.values()))
    else:
        blocks = [tables.verdict_lines(judged)] if "one-std" in chosen else []
        blocks += [tables.rules_lines(judged, shown)] if "non-inferiority" in chosen else []
        print("\n\n".join("\n".join(block) for block in blocks))
    return 0


@app.command()
def trials(
    study: StudyName = None,
    where: Annotated[
        str | None, typer.Option(help="Rows to show, as in \"theta == 'standard' and SA > 0.9\".")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show: a,b,c.")] = None,
    sort: Annotated[str | None, typer.Option(help="A column; -COLUMN for descending.")] = None,
    form: Format = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """Every finished transfer: one row each."""
    results = _load(study, tracking_uri)

    from analysis import query, tables

    chosen: pd.DataFrame = query.select(results.table, where, columns, sort)
    if results.table.empty:
        return _nothing("list", results)
    print(tables.format_table(chosen, form))
    return 0


@app.command()
def curves(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")] = Path("curves.png"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Draw each metric over sparsity, with the extreme double wins marked."""
    from analysis import figures

    figures.check_path(out)
    results = _load(study, tracking_uri)
    random = [name for name, plan in results.study.pruning.items() if plan.method == "random"]
    if not (results.table["level"] > 0).any():
        return _nothing("draw", results)
    figures.save(figures.curves(results.expected, random), out)
    print(f"wrote {out}")
    return 0


@app.command()
def collapse(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="A .png, .pdf or .svg file.")] = Path("collapse.png"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Draw PGD and FGSM accuracy over epochs of the transfers watched for collapse."""
    from analysis import figures, load

    figures.check_path(out)
    results = _load(study, tracking_uri)
    probes = load.probe_curves(results, tracking_uri)
    if probes.empty:
        return _nothing("draw", results)
    figures.save(figures.collapse(probes), out)
    print(f"wrote {out}")
    return 0


@app.command()
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
    from analysis import figures, load, query, search_figures, tables

    if out is not None:
        figures.check_path(out / "parallel.png")
    content, table = load.search_trials(study, tracking_uri)
    chosen = query.select(table, where, columns, sort)
    if table.empty:
        command = f"python -m tuner search {content.name}"
        print(f"nothing to list in {content.name} yet: {command}", file=sys.stderr)
        return 1
    print(tables.format_table(chosen, form))
    if out is not None:
        drawn = {"parallel": search_figures.parallel}
        if table["RA"].notna().any():
            drawn["pareto"] = search_figures.pareto
        for name, draw in drawn.items():
            figures.save(draw(content, table), out / f"{name}.png")
            print(f"wrote {out / name}.png", file=sys.stderr)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 (nothing there yet), 2 (bad input)."""
    try:
        return app(arguments, prog_name="python -m analysis", standalone_mode=False) or 0
    except typer.Abort:
        return 130  # Ctrl-C, as shells count it
    except InputError as error:
        reason = str(error)
    except typer.exceptions.TyperException as error:
        reason = error.format_message()
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)
    return 2


def _load(study: str | None, tracking_uri: str | None) -> "Results":
    from analysis.load import load

    results = load(study, tracking_uri)
    _name_missing(results)
    return results


def _name_missing(results: "Results") -> None:
    """What is not there is said, and never on stdout."""
    missing = results.missing
    if not missing:
        return
    named = [
        ", ".join(f"{label}={value}" for label, value in cell.labels.items() if label != "sparsity")
        for cell in missing[:SHOWN_MISSING]
    ]
    if len(missing) > SHOWN_MISSING:
        named.append(f"and {len(missing) - SHOWN_MISSING} more")
    total = len(missing) + len(results.table)
    print(f"missing: {len(missing)} of {total} transfers: {'; '.join(named)}", file=sys.stderr)


def _nothing(what: str, results: "Results") -> int:
    name = results.study.name
    print(f"nothing to {what} in {name} yet: python -m tuner run {name}", file=sys.stderr)
    return 1
