"""Winning tickets in MLflow's model registry.

A registered model stands for a theta and a task of a study, STUDY-THETA-DATASET; its versions are
tickets, told apart by their content keys; the alias `double-win` is on the extreme one by the
paper's rule, `within-margin` on the extreme one by evidence, each only while the verdict of the
study's version that put it there says so. Writing it again makes nothing twice.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from search_spaces.grid import TicketCell, TransferCell
from search_spaces.keys import key
from search_spaces.study import Study
from tuner.scheduling.worklist import Worklist
from tuner.tracking import models
from tuner.tracking.cards import BY_EVIDENCE, BY_PAPER, Files, Row, Winner, card
from tuner.tracking.notes import run_link
from tuner.tracking.tracker import TICKET_FILES, Tracker

if TYPE_CHECKING:
    import pandas as pd

VERSION = "study_version"
"""The tag of a ticket in the registry that says which version of the study it wins in."""
SMALL = 16 * 2**20
"""Weights up to so many bytes lie beside the mask."""
_LONGEST = 5000  # characters that MLflow's tables hold of a description
_LONGEST_TAG = 500
_ABOUT = {
    BY_PAPER: "the sparsest double win by the paper's rule",
    BY_EVIDENCE: "the sparsest ticket shown to lose less than the margin",
}


def winners(
    work: Worklist, verdict: "pd.DataFrame", shown: "pd.DataFrame", flags: "pd.DataFrame"
) -> list[Winner]:
    """The study's extreme tickets by either rule that are pruned, and that no open flag blocks.

    verdict, shown: as `analysis.flags.verdicts` gives them; flags: those of the evidence.
    """
    from analysis.tables.text import task_of
    from analysis.verdict.flags import acknowledged, keys_behind, keys_by_cell
    from analysis.verdict.one_std import GROUP

    study = work.study
    cells: dict[tuple[str, str, int], TicketCell] = {}
    # Of several source seeds, and of masks drawn for every seed, the first.
    for cell in work.grid.tickets.values():
        cells.setdefault(cell.place, cell)
    known, keys = acknowledged(flags, study.looked_at), keys_by_cell(flags)
    evidence = {tuple(row[name] for name in GROUP): row for row in shown.to_dict("records")}
    winning = []
    for won in verdict.to_dict("records"):
        group = [won[name] for name in GROUP]
        theta, pruning, dataset, fraction = group
        rows = {BY_PAPER: won, BY_EVIDENCE: evidence[*group]}
        extreme = {alias: row["level"] for alias, row in rows.items() if _wins(row)}
        for level in sorted(set(extreme.values())):
            behind = keys_behind(keys, group, level)
            winning.append(
                Winner(
                    model=model_name(study, theta, pruning, dataset, fraction),
                    aliases=tuple(alias for alias in extreme if extreme[alias] == level),
                    study=study.name,
                    cell=cells[theta, pruning, level],
                    task=task_of(won),
                    won=won,
                    shown=rows[BY_EVIDENCE],
                    acknowledged={name: known[name] for name in behind if name in known},
                )
            )
    return winning


def _wins(row: Row) -> bool:
    """Does a row of either verdict name a ticket that is pruned, and not flagged?"""
    import pandas as pd

    return not row["flagged"] and not pd.isna(row["level"]) and row["level"] > 0


def model_name(study: Study, theta: str, pruning: str, dataset: str, fraction: float) -> str:
    """STUDY-THETA-DATASET, then the share of the data unless it is all, and the pruning unless it
    is the one that the study's figures follow."""
    from analysis.tables.roles import main_pruning

    parts = [study.name, theta, dataset]
    parts += [] if fraction == 1 else [f"{100 * fraction:g}-percent"]
    parts += [] if pruning == main_pruning(study) else [pruning]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts))


def register(tracker: Tracker, winning: list[Winner], complete: bool) -> None:
    """Puts a version's winners into the registry, and takes their aliases from those that it has
    put there and that are none any more. A ticket without a run in MLflow is left out.

    An alias is of the complete version that was concluded last and has a winner there: one that is
    not complete changes nothing, and none takes the alias from what another has put there without a
    winner of its own.
    """
    if not complete:
        return
    client, study = tracker.client, tracker.work.study
    with_runs = [w for w in winning if w.cell.key in tracker.runs]
    kept = {(w.model, alias) for w in with_runs for alias in w.aliases}
    for model in _models(client, study.name):
        for alias, number in dict(model.aliases).items():
            if alias not in _ABOUT or (model.name, alias) in kept:
                continue
            held = client.get_model_version(model.name, number)
            # Earlier releases knew no versions, and put none here.
            mine = tracker.version if tracker.alone else None
            if held.tags.get(VERSION, mine) == tracker.version:
                client.delete_registered_model_alias(model.name, alias)
    for winner in with_runs:
        version = _version(tracker, winner)
        client.set_model_version_tag(winner.model, version, VERSION, tracker.version)
        for alias in winner.aliases:
            client.set_registered_model_alias(winner.model, alias, version)


def _version(tracker: Tracker, winner: Winner) -> str:
    """The number of the winner's version, made if missing, its card as of now."""
    client, name = tracker.client, winner.cell.key
    theta = winner.won["theta"]
    labels = {"theta": theta, "task": winner.task, "study": winner.study}
    if not client.search_registered_models(f"name = '{winner.model}'"):
        rules = "; ".join(f"alias {alias}: {what}" for alias, what in _ABOUT.items())
        about = f"Tickets of study {winner.study}: θ {theta} on {winner.task}; {rules}."
        client.create_registered_model(winner.model, tags=labels, description=about)
    network = models.network(tracker.work, name, *_task(winner))
    tags = {"key": name} | ({"network": network.key} if network else {})
    held = [
        version
        for version in client.search_model_versions(f"name = '{winner.model}'")
        if tags.items() <= version.tags.items()
    ]
    whole: dict[str, bytes] = {}
    if network and not held:
        try:
            whole = _whole(tracker, winner, network)
        # torch raises anything on what it cannot trace: the ticket is registered nevertheless.
        except Exception as error:
            tags = {"key": name, "not_a_model": str(error).partition("\n")[0][:_LONGEST_TAG]}
            network = None
    folder = f"model/{winner.model}" if network else "ticket"
    content = _content(tracker, winner, network)
    run = tracker.runs[name]
    tracker.attach({**content, **whole}, folder, run)
    text = _cut(content[_card_file(winner)].decode())
    if held:
        client.update_model_version(winner.model, held[0].version, text)
        return str(held[0].version)
    sparsity = f"{100 * winner.cell.sparsity:.2f} %"
    made = client.create_model_version(
        winner.model,
        source=f"{client.get_run(run).info.artifact_uri}/{folder}",
        run_id=run,
        tags={**tags, "sparsity": sparsity, "level": str(winner.cell.level)},
        description=text,
    )
    return str(made.version)


def _task(winner: Winner) -> tuple[str, float]:
    return winner.won["dataset"], winner.won["fraction"]


def _content(tracker: Tracker, winner: Winner, network: TransferCell | None) -> dict[str, bytes]:
    """The files that a version adds to its ticket's: the card, and the weights if small."""
    ledger, ticket = tracker.work.ledger, winner.cell.ticket
    path = ledger.file(ticket.start, "weights.safetensors")
    name = "theta" if ticket.start == ticket.theta else "weights"
    weights = path.read_bytes()
    small = len(weights) <= SMALL
    result, digest = ledger.result(ticket), hashlib.sha256(weights).hexdigest()
    files = Files(result, name, None if small else str(path), digest)
    text = card(winner, files, dict(_links(tracker, winner)), network)
    beside = {f"{name}.safetensors": weights} if small else {}
    return {_card_file(winner): text.encode(), **beside}


def _whole(tracker: Tracker, winner: Winner, network: TransferCell) -> dict[str, bytes]:
    """The files of a version that stands by itself: its ticket's, and the network as a model."""
    from trainables.export.taken import take

    folder = tracker.work.ledger.folder(winner.cell.ticket)
    files = {name: (folder / name).read_bytes() for name in TICKET_FILES}
    return files | models.as_model(take(network.transfer, tracker.work.ledger))


def _card_file(winner: Winner) -> str:
    """A ticket may win on several tasks: each has its card."""
    return f"card-{winner.model}.md"


def _links(tracker: Tracker, winner: Winner) -> Iterator[tuple[str, str]]:
    """The runs that the ticket comes from, and the transfers that it is judged by."""
    where = tracker.experiment
    yield f"study {winner.study}", run_link(where, tracker.parent)
    runs = tracker.runs
    for what, spec in (("its mask", winner.cell.ticket), ("theta", winner.cell.ticket.theta)):
        if run := runs.get(key(spec)):
            yield what, run_link(where, run)
    task = _task(winner)
    for name, cell in tracker.work.grid.transfers.items():
        same = (cell.labels["dataset"], cell.labels["fraction"]) == task
        run = runs.get(name) if same and cell.ticket_cell.place == winner.cell.place else None
        if run:
            what = f"transfer, {cell.regime} training, seed {cell.labels['seed']}"
            yield what, run_link(where, run)


def _models(client: Any, study: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_registered_models(f"tags.study = '{study}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _cut(text: str) -> str:
    """A card as long as the registry's tables hold; the whole is among the ticket's files."""
    rest = "\n\n(cut here; whole in the card among the files)"
    return text if len(text) <= _LONGEST else text[: _LONGEST - len(rest)] + rest
