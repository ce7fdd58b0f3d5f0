"""The paper's figures by their numbers."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import bars, landscapes, masks, paper
from analysis.figures.style import NO_FLAGS, SUFFIXES, placed, save
from analysis.store.evidence import Evidence
from analysis.tables.roles import main_pruning, random_prunings
from analysis.verdict.results import Results
from search_spaces.errors import InputError
from search_spaces.grid import DENSE
from search_spaces.study import Study

OVER_SCORES = ("fig3", "fig4", "fig5", "a10")
OVER_EVIDENCE = ("fig2", "fig6", "fig7", "a8", "a9")


def over_scores(
    name: str, results: Results, flags: pd.DataFrame = NO_FLAGS, level: int | None = None
) -> tuple[pd.DataFrame, Figure]:
    """(rows behind it, figure) of one of OVER_SCORES.

    flags: those of the evidence; `level` is where a10 compares; default: at the extreme double wins
    by the paper's rule. Raises InputError if the study has nothing to draw there.
    """
    study, table = results.study, results.expected
    main = main_pruning(study)
    if main is None:
        raise InputError(f"{name}: the study has no pruning but random ones: nothing to draw")
    # Only what is drawn is judged: of a large study that takes a while.
    kept = {"fig3": [DENSE, main, *random_prunings(study)], "fig5": [DENSE, main]}.get(name)
    wanted = table if kept is None else table[table["pruning"].isin(kept)]
    wanted = wanted if name == "fig5" else paper.all_data(wanted)
    levels = placed(replace(results, expected=wanted), flags)
    levels = levels.assign(random=levels["pruning"].isin(random_prunings(study)))
    if name == "fig3":
        rows = paper.fig3_rows(levels, main)
        return rows, paper.fig3(rows)
    if name == "fig4":
        rows = paper.fig4_rows(levels)
        return rows, paper.fig4(rows)
    if name == "fig5":
        rows = paper.fig5_rows(levels, main)
        return rows, paper.fig5(rows)
    rows = bars.a10_rows(levels, main, level)
    return rows, bars.a10(rows)


def over_evidence(
    name: str, evidence: Evidence | None, study: Study, level: int | None = None
) -> tuple[pd.DataFrame, Figure]:
    """(rows behind it, figure) of one of OVER_EVIDENCE.

    fig2 is the loss on attacked images over two random directions; fig6 and a9 show it on attacked
    and on clean images in the plane of the training's path. `level` is where fig7 looks; default:
    the largest that all pre-trainings have. Raises InputError if the evidence is not there.
    """
    if evidence is None:
        raise InputError(f"{name}: no evidence yet: python -m tuner evidence {study.name} first")
    main = main_pruning(study) or ""
    if name == "a8":
        rows = masks.a8_rows(evidence.table("similarity"), evidence.table("structure"), main)
        return rows, masks.a8(rows)
    if name == "fig7":
        rows = masks.fig7_rows(evidence.table("structure"), evidence.arrays, main, level)
        return rows, masks.fig7(rows)
    table = evidence.table("landscape")
    plane = "random" if name == "fig2" else "path"
    rows = landscapes.landscape_rows(table, evidence.arrays, plane, main)
    if name == "fig2":
        return rows, landscapes.surfaces(rows, "attacked")
    return rows, landscapes.contours(rows, "attacked" if name == "fig6" else "clean")


def write(name: str, rows: pd.DataFrame, figure: Figure, folder: Path) -> list[Path]:
    """Writes FOLDER/NAME.png, .pdf and .svg, and the rows as NAME.csv; returns the paths.

    The folder is made if it is missing. Raises InputError if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"{name}.csv"
        rows.to_csv(data, index=False)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written: {error.strerror}") from None
    pictures = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    for path in pictures:
        save(figure, path)
    return [*pictures, data]
