"""What MLflow's UI says to somebody who does not know this code, and which columns it offers.

Links are relative to the UI: it answers below `#/`, wherever it is served from.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

NOTE = "mlflow.note.content"
MODE = "workflowType=machine_learning"
"""Shows the UI for trainings: without it, one who has not chosen sees that for language models."""
# MLflow cuts off what is longer than 8,000 characters.
MOST_SENTENCES = 20


MOST_DIFFERENCES = 5


@dataclass(frozen=True)
class VersionLine:
    """A version of a study: what it is called, its run, and what it sets otherwise than the
    first."""

    title: str
    digest: str
    run: str
    complete: bool
    sets: list[str]


@dataclass(frozen=True)
class Summary:
    """Where a version of a study stands, and where in MLflow it is. verdict: in sentences; models:
    the names of its winning tickets in the registry; versions: all of the study's, the one first
    that readers take."""

    name: str
    experiment: str
    run: str
    done: int = 0
    total: int = 0
    failed: int = 0
    verdict: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    versions: list[VersionLine] = field(default_factory=list)
    has_report: bool = False
    has_figures: bool = False
    has_evidence: bool = False


def run_link(experiment: str, run: str, file: str = "") -> str:
    """The page of a run, or of a file among its artifacts."""
    place = f"/artifacts/{file}" if file else ""
    return f"#/experiments/{experiment}/runs/{run}{place}?{MODE}"


def view_link(experiment: str, view: str) -> str:
    """The table of an experiment's runs in one of the VIEWS."""
    return f"#/experiments/{experiment}/runs?{MODE}&viewStateShareKey={view}"


def experiment(summary: Summary) -> str:
    """The description of an experiment."""
    views = ", ".join(f"[{view}]({view_link(summary.experiment, view)})" for view in VIEWS)
    return f"""\
{_start(summary)} \
Tables of runs: {views}.

{_ABOUT}

{_models(summary)}

{_LEGEND}"""


def _start(summary: Summary) -> str:
    """Where a reader of an experiment begins."""
    if len(summary.versions) < 2:
        done = f"{summary.done} of {summary.total} transfers are complete."
        link = run_link(summary.experiment, summary.run)
        return f"{done} **Start at the run [{summary.name}]({link})**."
    listed = "\n".join(f"- {_version(line, summary.experiment)}" for line in summary.versions)
    first = summary.versions[0]
    start = f"[{first.title}]({run_link(summary.experiment, first.run)})"
    many = f"{len(summary.versions)} versions of {summary.name}"
    return f"{many}. **Start at the run {start}**.\n\n{listed}\n\n"


def _version(line: VersionLine, experiment: str) -> str:
    sets = line.sets[:MOST_DIFFERENCES]
    more = [f"{len(line.sets) - len(sets)} fields more"] if len(sets) < len(line.sets) else []
    state = "complete" if line.complete else "incomplete"
    link = f"[{line.title}]({run_link(experiment, line.run)})"
    return ", ".join([f"{link}: {state}", *(f"`{field}`" for field in sets), *more])


def parent(summary: Summary) -> str:
    """The description of the run that stands for a study. The UI folds all but its first lines."""
    shown = summary.verdict[:MOST_SENTENCES]
    rest = [] if shown == summary.verdict else ["... the rest is in verdict/verdict.txt"]
    verdict = "\n".join(f"- {line}" for line in [*shown, *rest]) or "Nothing to judge yet."
    return f"""\
{summary.done} of {summary.total} transfers are complete{_missing(summary)}. Look at \
{_places(summary)}.{_which(summary)}

{verdict}

{_models(summary)}

{_ABOUT}"""


def _which(summary: Summary) -> str:
    """Which version it is, where there are several, and how to find what it shares with others."""
    if len(summary.versions) < 2:
        return ""
    own = next(line for line in summary.versions if line.run == summary.run)
    holds = quote(f"tags.versions LIKE '%{own.digest}%'")
    runs = f"#/experiments/{summary.experiment}/runs?{MODE}&searchFilter={holds}"
    return (
        f" This is {own.title}, one of {len(summary.versions)} versions; what it shares with an "
        f"earlier one hangs below that: [all of its runs]({runs})."
    )


def _missing(summary: Summary) -> str:
    """What a reader has to know before believing."""
    if summary.done == summary.total:
        return ""
    why = f"; {summary.failed} failed: see the runs marked so" if summary.failed else ""
    return f" (what is said below may still change{why})"


def _places(summary: Summary) -> str:
    files = {
        "report.html": ("the report on one page", summary.has_report),
        "figures/fig3.png": ("the curves", summary.has_figures),
        "verdict/verdict.txt": ("the verdict's numbers", True),
        "evidence/index.json": ("the evidence", summary.has_evidence),
        "study.yaml": ("every setting", True),
    }
    return ", ".join(
        f"[{what}]({run_link(summary.experiment, summary.run, file)})"
        for file, (what, there) in files.items()
        if there
    )


def _models(summary: Summary) -> str:
    if not summary.models:
        return (
            "The model registry has no ticket of this: no pruned one wins by either rule, or "
            "transfers are missing."
        )
    listed = ", ".join(f"[{name}](#/models/{name}?{MODE})" for name in summary.models)
    return f"Winning tickets in the model registry: {listed}."


def _view(title: str, stage: str, params: Iterable[str], metrics: Iterable[str]) -> str:
    """A saved view of the UI (MLflow 3.15 and later): an experiment's tag, as the UI writes it."""
    columns = [f"params.`{name}`" for name in params] + [f"metrics.`{name}`" for name in metrics]
    # Sorted by start, the UI's default, runs would hide below their parent.
    state = {"orderByKey": "tags.`mlflow.runName`", "orderByAsc": True}
    state |= {"searchFilter": f'tags.stage = "{stage}"', "selectedColumns": columns}
    return json.dumps({"name": title, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


_TICKET = ("theta", "pruning", "sparsity")
VIEWS: Mapping[str, str] = {
    "transfers": _view(
        "Transfers: scores",
        "transfer",
        (*_TICKET, "dataset", "fraction", "regime", "seed"),
        ("SA", "RA"),
    ),
    "tickets": _view("Tickets: masks", "ticket", _TICKET, ("kept",)),
    "pretrainings": _view("Pre-trainings", "pretraining", ("theta",), ("SA", "RA", "seconds")),
}
EXPERIMENT_TAGS: Mapping[str, str] = {
    # Opens the UI on training runs rather than on language-model traces.
    "mlflow.experimentKind": "custom_model_development",
    **{f"mlflow.sharedViewState.{name}": view for name, view in VIEWS.items()},
}

# The UI breaks lines where the text does: a paragraph is one line.
_ABOUT = (
    'Which sparse sub-networks ("tickets") of a pre-trained network θ transfer as well as the '
    "dense network: in accuracy (SA) after standard training, and in accuracy and robust accuracy "
    "(RA) after adversarial training. One that matches in all three is a *double win*. The "
    "verdict is the sparsest one that is shown to stay within the study's margin "
    "(`shown_sparsity`); beside it stands the paper's rule, no lower than the dense mean less one "
    "standard deviation (`paper_sparsity`)."
)
_LEGEND = (
    "Below that run: `theta` runs are pre-trainings, `ticket` runs masks, the others transfers, "
    "named seed N REGIME: THETA PRUNING SPARSITY > DATASET. SA and RA are the shares of test "
    "images, clean and under attack, that the best state by validation gets right; last_SA and "
    "last_RA are the last epoch's; chance is the share of the commonest class. Curves are under "
    "train/, val/ and probe/ (watching for catastrophic "
    "overfitting). `search` runs are trials of a hyper-parameter search: they know no test images, "
    "and best_val_SA and best_val_RA are what they are judged by."
)
