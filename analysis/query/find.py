"""From what a user types to a theta, a ticket or a transfer of a study."""

import difflib
from collections.abc import Mapping
from dataclasses import replace

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.grid import ThetaCell, TicketCell, TransferCell
from search_spaces.keys import keys
from search_spaces.study import Study

Cell = ThetaCell | TicketCell | TransferCell
SHORTEST_PREFIX = 4
_LEVELS = 2
"""Slashes in a ticket's path; a transfer's has more."""


def tickets(study: Study) -> list[TicketCell]:
    """The study's tickets, the dense networks first."""
    return [*(cell.dense for cell in grid.thetas(study)), *grid.tickets(study)]


def path(cell: TicketCell) -> str:
    """What a ticket is called on the command line: THETA/PRUNING/LEVEL, THETA/dense, or, where
    masks are drawn for every seed, THETA/PRUNING/LEVEL@SEED. THETA is that of the first source
    seed, THETA@SEED another's."""
    level = f"/{cell.level}" if cell.level else ""
    seed = "" if cell.replicate is None else f"@{cell.replicate}"
    return f"{cell.theta_cell.name}/{cell.pruning}{level}{seed}"


def transfer_path(cell: TransferCell) -> str:
    """What a transfer is called on the command line: its ticket's path, then /DATA SET/REGIME/SEED.
    A mask drawn for every seed is that of the transfer's."""
    ticket = path(replace(cell.ticket_cell, replicate=None))
    return f"{ticket}/{cell.labels['dataset']}/{cell.regime}/{cell.labels['seed']}"


def find(text: str, study: Study, transfers: Mapping[str, TransferCell]) -> tuple[str, Cell]:
    """(key, cell) of what `text` names: a key, a prefix of just one, or a ticket's or a transfer's
    path. THETA/dense may be written THETA/dense/0.

    A path without @SEED stands for the tickets of all seeds, and has the first one's key.
    `transfers` are the study's by key. Raises InputError that offers the nearest.
    """
    text = text.replace(f"/{grid.DENSE}/0", f"/{grid.DENSE}")
    if text.count("/") > _LEVELS:
        return _transfer(text, study, transfers)
    named = tickets(study)
    by_path = {path(cell): cell for cell in named}
    for cell in named:
        every = replace(cell, replicate=None)
        by_path.setdefault(path(every), every)
    if text in by_path:
        return by_path[text].key, by_path[text]
    cells: dict[str, Cell] = dict(zip(keys([cell.ticket for cell in named]), named, strict=True))
    if "/" in text:
        near = difflib.get_close_matches(text, by_path, n=1, cutoff=0)
        raise InputError(f"{text}: no such ticket in {study.name}: did you mean {near[0]}?")
    made = [*grid.thetas(study), *grid.surrogates(transfers.values())]
    cells |= {cell.key: cell for cell in made} | dict(transfers)
    return by_prefix(text, study.name, cells)


def _transfer(
    text: str, study: Study, transfers: Mapping[str, TransferCell]
) -> tuple[str, TransferCell]:
    """(key, cell) of the transfer that has this path."""
    by_path: dict[str, list[TransferCell]] = {}
    for cell in transfers.values():
        by_path.setdefault(transfer_path(cell), []).append(cell)
    if text not in by_path:
        near = difflib.get_close_matches(text, by_path, n=1, cutoff=0)
        known = f"did you mean {near[0]}?" if near else "it has none"
        raise InputError(f"{text}: no such transfer in {study.name}: {known}")
    found = by_path[text]
    if len(found) > 1:
        shares = ", ".join(f"{cell.key} ({cell.labels['fraction']:.0%})" for cell in found)
        raise InputError(f"{text}: of several shares of the data: name one by its key: {shares}")
    return found[0].key, found[0]


def by_prefix(text: str, name: str, cells: Mapping[str, Cell]) -> tuple[str, Cell]:
    """(key, cell) of the only key that begins with `text`; name: the study's, for the InputError
    that is raised where there is none, or several."""
    begun = [key for key in cells if key.startswith(text)] if len(text) >= SHORTEST_PREFIX else []
    if len(begun) == 1:
        return begun[0], cells[begun[0]]
    if begun:
        some = ", ".join(sorted(begun)[:3])
        raise InputError(f"key {text}: begins {len(begun)} keys of {name}: {some}: write more")
    if len(text) < SHORTEST_PREFIX:
        raise InputError(f"key {text}: too short: write {SHORTEST_PREFIX} or more of its digits")
    near = difflib.get_close_matches(text, cells, n=1, cutoff=0)
    raise InputError(
        f"key {text}: not in {name}: the nearest is {near[0]}; keys are in `trials`, tickets also "
        "go by THETA/PRUNING/LEVEL, transfers by that and /DATASET/REGIME/SEED"
    )


def title(cell: Cell) -> str:
    """What a thing is, for people."""
    if isinstance(cell, ThetaCell):
        return f"theta {cell.name}"
    if isinstance(cell, TicketCell):
        share = f" level {cell.level}, {100 * cell.sparsity:.2f} %" if cell.level else ""
        seed = "" if cell.replicate is None else f" of seed {cell.replicate}"
        return f"{cell.theta_cell.name} {cell.pruning}{share}{seed}"
    labels = cell.labels
    part = "" if labels["fraction"] == 1 else f" {100 * cell.transfer.fraction:g} % of the data"
    where = f"{labels['dataset']}{part} {cell.regime} seed {labels['seed']}"
    return f"{title(replace(cell.ticket_cell, replicate=None))} > {where}"
