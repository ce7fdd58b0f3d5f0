"""What a search has found, from the ledger: the trials, the best recipe, and how sure that is."""

import os
import shlex
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from search_spaces import trials
from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.searches.spaces import Point
from search_spaces.study import Study
from search_spaces.trials import Trial
from trainables.store import atomic
from trainables.store.ledger import Ledger
from tuner.storage import state

if TYPE_CHECKING:
    import pandas as pd


def table(study: Study, ledger: Ledger) -> "pd.DataFrame":
    """The search's finished trials as `analysis.search_tables.frame` has them."""
    from analysis.tables.search import frame

    rows = []
    for finished in state.trials(study, ledger):
        result = finished.result
        scores = {name.upper(): value for name, value in result["best"].items()}
        rest = {"epochs": len(result["epochs"]), "seconds": result["ended"] - result["started"]}
        head = {"key": key(finished.trial), "state": result["state"]}
        rows.append({**head, **finished.point, **scores, **rest})
    return frame(study, rows)


def winning_point(study: Study, ledger: Ledger) -> Point | None:
    """The point of the winning trial; None while no trial has a score."""
    from analysis.tables.search import winner

    row = winner(study, table(study, ledger))
    if row is None:
        return None
    finished = state.trials(study, ledger)
    return next(f.point for f in finished if key(f.trial) == row["key"])


def confirmations(study: Study, ledger: Ledger) -> list[tuple[Trial, Trial]]:
    """(best, own) on each further seed; none where they are one recipe."""
    best, own = winning_point(study, ledger), trials.shipped_point(study)
    if best is None or best == own:
        return []
    seeds = trials.searched(study).further_seeds
    return [
        (trials.trial(study, best, (seed,)), trials.trial(study, own, (seed,))) for seed in seeds
    ]


def sentences(study: Study, ledger: Ledger) -> list[str]:
    """Sentences on whether the best recipe beats the study's own."""
    from analysis.tables.search import judgement

    pairs = confirmations(study, ledger)
    if not pairs:
        if winning_point(study, ledger) is None:
            return ["no trial has a score: see the reasons in MLflow or the ledger"]
        return ["the shipped recipe is the best of these trials"]
    kept = [pair for pair in pairs if all(map(ledger.has, pair))]
    scores = [tuple(ledger.result(trial)["best"] for trial in pair) for pair in kept]
    whole = [(best, own) for best, own in scores if best and own]
    if len(whole) < 2:
        return ["too few further seeds have a score: whether the best recipe is better is open"]
    names = trials.searched(study).objectives
    lines = [judgement(n.upper(), *_columns(whole, n)) for n in names]
    return [
        *lines,
        "(paired by seed, 95 % t interval over seeds, validation images; no test image was used)",
    ]


def _columns(pairs: Sequence[tuple[dict[str, float], ...]], name: str) -> list[list[float]]:
    return [[pair[side][name] for pair in pairs] for side in (0, 1)]


def write_fragment(
    study: Study, ledger: Ledger, best: Point, origin: str, lines: list[str]
) -> Path:
    """Writes the best recipe as overrides of the study, under the key of its trial; `lines` go
    into its head comment, and so does the command that runs the study (called `origin`) with it.
    Raises InputError if it cannot be written."""
    name = f"{study.name}-{key(trials.trial(study, best))}.yaml"
    path = ledger.root / "searches" / name
    head = [f"python -m tuner run {origin} --with {shlex.quote(shown(path))}", *lines]
    text = "".join(f"# {line}".rstrip() + "\n" for line in head)
    text += yaml.safe_dump(trials.fragment(study, best), sort_keys=False)
    try:
        path.parent.mkdir(exist_ok=True)
        atomic.write(path, text)
    except OSError as error:
        raise InputError(f"recipe {path}: cannot be written: {error.strerror}") from None
    return path


def shown(path: Path) -> str:
    """A path as a user in this folder would write it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def figures(study: Study, rows: "pd.DataFrame") -> dict[str, bytes]:
    """The search's figures as PNG files, by name."""
    from analysis.figures import search

    drawn = {"parallel.png": search.parallel(study, rows)}
    if rows["RA"].notna().any():
        drawn["pareto.png"] = search.pareto(study, rows)
    pictures = {}
    for name, figure in drawn.items():
        picture = BytesIO()
        figure.savefig(picture, format="png", dpi=150)
        pictures[name] = picture.getvalue()
    return pictures
