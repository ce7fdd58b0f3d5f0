"""The story of a search: theta, trials, confirmation on further seeds, the winning recipe."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.spaces import Point
from search_spaces.spec import Theta, Ticket
from search_spaces.study import PruningPlan, Study
from search_spaces.trials import RATE, Trial
from trainables.ledger import Ledger, open_ledger
from tuner import cluster, data, source_stage, state, tracking
from tuner.console import Stage, duration, quiet
from tuner.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Searching:
    """One `python -m tuner search`: what it works on and what it has seen go wrong."""

    study: Study
    origin: str
    ledger: Ledger
    settings: Settings
    total: int
    deadline: float
    tracker: tracking.Tracker
    console: Console
    log: Path
    failures: list[str]


def search(
    study: Study, settings: Settings, origin: str, total: int | None, minutes: float | None
) -> int:
    """Runs the trials that the ledger lacks of the study's search, then says what they show.

    total: trials wanted in all (None: as the study says); minutes: after so many, no trial is
    started. Returns the exit code: 0, or 1 if something failed. Raises InputError before anything
    is started.
    """
    wanted = total or trials.searched(study).trials
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    cluster.check_local(settings)
    data.check(_source_of(study))
    tracking.check_server()
    ledger = open_ledger(settings.storage)
    log = ledger.root / "logs" / f"search-{study.name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    # Ctrl-C is to end the search, not one round of it.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    with quiet(log) as console:
        tracker = tracking.open_tracker(tracking.connect(), study, ledger)
        this = Searching(
            study, origin, ledger, settings, wanted, deadline, tracker, console, log, []
        )
        return _search(this)


def _search(this: Searching) -> int:
    started = time.monotonic()
    for finished in state.trials(this.study, this.ledger):
        this.tracker.log(tracking.trial_entry(this.study, finished.trial))
    done = len(state.trials(this.study, this.ledger))
    if done < this.total or _unconfirmed(this):
        with cluster.cluster(this.settings) as capacity:
            if _source(this, capacity):
                _trials(this, capacity)
                _confirm(this, capacity)
    _conclude(this, time.monotonic() - started)
    return 1 if this.failures else 0


def _source_of(study: Study) -> Study:
    """The study less all thetas and tickets that the search does not start from."""
    search = trials.searched(study)
    name, plans = search.pretraining, {}
    if search.pruning and RATE not in search.space:
        plan = study.pruning[search.pruning].model_dump()
        plan |= {"rounds": search.level} if plan["rounds"] else {"levels": (search.level,)}
        plans = {search.pruning: PruningPlan.model_validate(plan)}
    source = study.source.model_copy(
        update={"pretrainings": {name: study.source.pretrainings[name]}}
    )
    return study.model_copy(update={"source": source, "pruning": plans})


def _source(this: Searching, capacity: cluster.Capacity) -> bool:
    """Makes the theta and the ticket of the search; False if that failed."""
    part = _source_of(this.study)
    wanted = source_stage.wanted(part)
    missing = [spec for spec in wanted if not this.ledger.has(spec)]
    if not missing:
        return True
    names = {entry.spec: entry for entry in tracking.entries(part)}
    with Stage(this.console, "source", len(wanted) - len(missing), len(wanted)) as stage:

        def found(spec: Theta | Ticket) -> None:
            this.tracker.log(names[spec])
            stage.advance()

        failures = source_stage.run(part, this.ledger, capacity, found)
    this.failures += failures
    return not failures


def _trials(this: Searching, capacity: cluster.Capacity) -> None:
    from analysis.search_tables import best_so_far
    from tuner import search_stage

    done = {key(f.trial) for f in state.trials(this.study, this.ledger)}
    if len(done) >= this.total:
        return
    with Stage(this.console, "trials", len(done), this.total) as stage:

        def found(trial: Trial) -> None:
            if key(trial) in done:
                return  # The sampler has drawn a point a second time.
            done.add(key(trial))
            this.tracker.log(tracking.trial_entry(this.study, trial))
            stage.advance(best_so_far(this.study, table(this.study, this.ledger)))

        running = search_stage.Stage(this.study, this.ledger, capacity, found, this.failures)
        search_stage.search(running, this.total, this.deadline)


def _confirm(this: Searching, capacity: cluster.Capacity) -> None:
    from tuner import search_stage

    missing = _unconfirmed(this)
    if not missing:
        return
    with Stage(this.console, "further seeds", 0, len(missing)) as stage:

        def found(trial: Trial) -> None:
            this.tracker.log(tracking.trial_entry(this.study, trial))
            stage.advance()

        running = search_stage.Stage(this.study, this.ledger, capacity, found, this.failures)
        search_stage.confirm(running, missing)


def table(study: Study, ledger: Ledger) -> "pd.DataFrame":
    """The search's finished trials as `analysis.search_tables.frame` has them."""
    from analysis.search_tables import frame

    rows = []
    for finished in state.trials(study, ledger):
        result = finished.result
        scores = {name.upper(): value for name, value in result["best"].items()}
        rest = {"epochs": len(result["epochs"]), "seconds": result["ended"] - result["started"]}
        head = {"key": key(finished.trial), "state": result["state"]}
        rows.append({**head, **finished.point, **scores, **rest})
    return frame(study, rows)


def _best(this: Searching) -> Point | None:
    """The point of the winning trial; None while no trial has a score."""
    from analysis.search_tables import winner

    row = winner(this.study, table(this.study, this.ledger))
    if row is None:
        return None
    found = state.trials(this.study, this.ledger)
    return next(f.point for f in found if key(f.trial) == row["key"])


def _pairs(this: Searching) -> list[tuple[Trial, Trial]]:
    """(best, own) on each further seed; none where they are one recipe."""
    best, own = _best(this), trials.shipped_point(this.study)
    if best is None or best == own:
        return []
    seeds = trials.searched(this.study).further_seeds
    return [
        (trials.trial(this.study, best, (seed,)), trials.trial(this.study, own, (seed,)))
        for seed in seeds
    ]


def _unconfirmed(this: Searching) -> list[Trial]:
    return [trial for pair in _pairs(this) for trial in pair if not this.ledger.has(trial)]


def _conclude(this: Searching, seconds: float) -> None:
    from analysis.search_tables import result_lines

    found = table(this.study, this.ledger)
    say = this.console.print
    counts = ", ".join(f"{n} {state}" for state, n in found["state"].value_counts().items())
    head = f"{this.study.name}: {len(found)} of {this.total} trials"
    say(f"\n{head}, {duration(seconds)} ({counts or 'none'})", style="bold")
    lines = [""]
    if len(found):
        lines += [*result_lines(this.study, found), "", *_judgement(this)]
    for line in lines:
        say(line, markup=False)
    files = {"search.txt": "\n".join(lines).encode(), "search.csv": found.to_csv().encode()}
    best = _best(this)
    if best is not None:
        path = _write_fragment(this, best, lines)
        files |= {path.name: path.read_bytes(), **_figures(this.study, found)}
        _say_next(this, path)
    this.tracker.attach("search", files)
    if this.failures:
        say(f"\n{len(this.failures)} failed; what they printed is in {this.log}", style="bold")
        for reason in this.failures[:5]:
            say(f"  {reason}", markup=False)
        say("run the same command again: what is complete is kept")


def _judgement(this: Searching) -> list[str]:
    """Sentences on whether the best recipe beats the study's own."""
    from analysis.search_tables import judgement

    pairs = _pairs(this)
    if not pairs:
        if _best(this) is None:
            return ["no trial has a score: see the reasons in MLflow or the ledger"]
        return ["the shipped recipe is the best of these trials"]
    kept = [pair for pair in pairs if all(map(this.ledger.has, pair))]
    scores = [tuple(this.ledger.result(trial)["best"] for trial in pair) for pair in kept]
    whole = [(best, own) for best, own in scores if best and own]
    if len(whole) < 2:
        return ["too few further seeds have a score: whether the best recipe is better is open"]
    names = trials.searched(this.study).objectives
    lines = [judgement(n.upper(), *_columns(whole, n)) for n in names]
    return [
        *lines,
        "(paired by seed, 95 % t interval over seeds, validation images; no test image was used)",
    ]


def _columns(pairs: Sequence[tuple[dict[str, float], ...]], name: str) -> list[list[float]]:
    return [[pair[side][name] for pair in pairs] for side in (0, 1)]


def _write_fragment(this: Searching, best: Point, lines: list[str]) -> Path:
    """The winning recipe as overrides of the study, under the key of its trial."""
    name = f"{this.study.name}-{key(trials.trial(this.study, best))}.yaml"
    path = this.ledger.root / "searches" / name
    head = [f"python -m tuner run {this.origin} --with {path}", *lines]
    text = "".join(f"# {line}".rstrip() + "\n" for line in head)
    text += yaml.safe_dump(trials.fragment(this.study, best), sort_keys=False)
    try:
        path.parent.mkdir(exist_ok=True)
        staging = path.with_suffix(".tmp")
        staging.write_text(text, encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise InputError(f"recipe {path}: cannot be written: {error.strerror}") from None
    return path


def _figures(study: Study, found: "pd.DataFrame") -> dict[str, bytes]:
    from analysis import search_figures

    drawn = {"parallel.png": search_figures.parallel(study, found)}
    if found["RA"].notna().any():
        drawn["pareto.png"] = search_figures.pareto(study, found)
    pictures = {}
    for name, figure in drawn.items():
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=150)
        pictures[name] = picture.getvalue()
    return pictures


def _say_next(this: Searching, path: Path) -> None:
    shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path
    look = f"python -m analysis search --study {this.study.name} --out ."
    this.console.print(f"\nwinning recipe: {shown}", markup=False)
    more = f"python -m tuner run {this.origin} --with {shown}"
    this.console.print(f"Next: {more} | {look} | python -m tuner ui", markup=False)
