"""python -m analysis: verdicts, trials and curves of the studies that MLflow holds."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from analysis.options import Format, StudyName, TableFormat, TrackingUri
from analysis.options import load_study as _load
from analysis.options import nothing as _nothing
from analysis.query import commands as queries
from search_spaces import __version__
from search_spaces.errors import InputError

# pandas, mlflow and matplotlib are imported by the commands: --help must not wait for them.

SCRIPT = "double-win-analysis"
# A shell completes the words behind a command of this name, not those behind python.
_AS_SCRIPT = Path(sys.argv[0]).name == SCRIPT

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=_AS_SCRIPT)

FigureName = Literal["fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "a8", "a9", "a10"]

_FIELDS = {"one-std": "extreme", "non-inferiority": "non_inferiority"}
_UNJUDGED = "no pruned ticket of {} is under both the standard and the adversarial regime"


@app.callback(invoke_without_command=True)
def base(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Verdicts, trials and curves of the studies that MLflow holds."""
    if version:
        print(f"{SCRIPT} {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def extreme(
    study: StudyName = None,
    rule: Annotated[
        Literal["both", "one-std", "non-inferiority"],
        typer.Option(help="The paper's, or by confidence bounds on the difference to dense."),
    ] = "both",
    explain: Annotated[
        bool, typer.Option("--explain", help="Each rule's own table, with all that is behind it.")
    ] = False,
    form: Format = "table",
    tracking_uri: TrackingUri = None,
) -> int:
    """How sparse a ticket may be and still be a double win, for each theta, pruning and task."""
    results = _load(study, tracking_uri, with_correct=True)

    from analysis.store import evidence, runs
    from analysis.tables import text as tables
    from analysis.tables.rules import evidence_lines, one_std_lines
    from analysis.tables.verdict import verdict_lines
    from analysis.verdict import completeness, flags, one_std
    from analysis.verdict.roles import pruners

    raised = evidence.flags(results.parent, runs.address(tracking_uri))
    judged, shown = flags.verdicts(results, raised)
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
            "rule": one_std.RULE,
            **{_FIELDS[name]: tables.records(table) for name, table in chosen.items()},
            "missing": results.missing.to_dict("records"),
        }
        print(json.dumps(content, indent=2, ensure_ascii=False))
    elif form == "csv":
        print("\n\n".join(tables.format_table(table, "csv") for table in chosen.values()))
    else:
        blocks = [verdict_lines(judged, shown, pruners(results.study))]
        if explain or rule != "both":
            blocks = [one_std_lines(judged)] if "one-std" in chosen else []
            blocks += [evidence_lines(judged, shown)] if "non-inferiority" in chosen else []
        lacks = completeness.lines(results.expected)
        print("\n".join([*lacks, "\n\n".join("\n".join(block) for block in blocks)]))
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
    from analysis import figures
    from analysis.store import load

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
    from analysis import figures
    from analysis.figures import search as search_figures
    from analysis.query import filters
    from analysis.store import load
    from analysis.tables import text as tables

    if out is not None:
        figures.check_path(out / "parallel.png")
    content, table = load.search_trials(study, tracking_uri)
    chosen = filters.select(table, where, columns, sort)
    if table.empty:
        command = f"python -m tuner search {load.load(content.name, tracking_uri).origin}"
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


@app.command()
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
    results = _load(study, tracking_uri)
    if not (results.table["level"] > 0).any():
        return _nothing("draw", results)
    from analysis.figures import named, style
    from analysis.store import evidence, runs

    if name in named.OVER_EVIDENCE:
        gathered = evidence.read(results.parent, runs.address(tracking_uri))
        rows, drawn = named.over_evidence(name, gathered, results.study, level)
    else:
        rows, drawn = named.over_scores(name, results.expected, results.study, level)
    if width is not None:
        style.resize(drawn, width)
    for path in named.write(name, rows, drawn, out):
        print(f"wrote {path}")
    return 0


@app.command()
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
    results = _load(study, tracking_uri)
    if not (results.table["level"] > 0).any():
        return _nothing("judge", results)
    from analysis.store import evidence, runs
    from analysis.store.load import source_seconds
    from analysis.tables import paper
    from analysis.tables import text as tables
    from analysis.tables.rules import flagged_lines
    from analysis.verdict import flags, one_std

    rows, content = results.expected, results.study
    if name == "extreme":
        printed = paper.extreme_table(rows, content)
    elif name == "ticks":
        printed = paper.ticks(rows, content, level, sparsity)
    elif name == "levels":
        printed = paper.levels(rows, content)
    else:
        printed = paper.cost(results.table, content, source_seconds(results, tracking_uri))
    print(tables.format_table(printed, form))
    if len(raised := evidence.flags(results.parent, runs.address(tracking_uri))):
        judged = one_std.extreme(rows)
        judged["flagged"] = flags.open_flags(judged, raised, content.looked_at)
        for line in flagged_lines(judged):
            print(line, file=sys.stderr)
    return 0


@app.command()
def report(
    study: StudyName = None,
    out: Annotated[Path, typer.Option(help="An .html file.")] = Path("report.html"),
    tracking_uri: TrackingUri = None,
) -> int:
    """Write the study on one page: verdicts, curves, tables, evidence, settings."""
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"--out {out}: is a web page: the name must end in .html")
    results = _load(study, tracking_uri, with_correct=True)
    if results.table.empty:
        return _nothing("report", results)
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


app.add_typer(queries.app)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 (nothing there yet), 2 (bad input)."""
    try:
        name = SCRIPT if _AS_SCRIPT else "python -m analysis"
        return app(arguments, prog_name=name, standalone_mode=False) or 0
    except typer.Abort:
        return 130  # Ctrl-C, as shells count it
    except InputError as error:
        reason = str(error)
    except typer.exceptions.TyperException as error:
        reason = error.format_message()
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)
    return 2
