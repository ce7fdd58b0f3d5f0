"""Evidence as others read it: records under a study's names, as files for MLflow.

The parent run's artifacts hold, under evidence/, one JSON list of records for each table of
TABLES, npz files beside them, and index.json, which says what each is. Every record is named by
the labels of its transfer (theta, pruning, level, sparsity, dataset, fraction, regime, source_seed,
seed) or ticket (theta, source_seed, pruning, level, sparsity), and by `key`, its content key; a
pair's by the same with first_ and second_ before them. Accuracies, shares and confidences are in
[0, 1].
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search_spaces.finished.evidence import (
    AttackEvidence,
    AutoAttackEvidence,
    Calibration,
    Evidence,
    Landscape,
    MaskEvidence,
    Probe,
    RecordEvidence,
    Retraining,
    from_json,
)
from search_spaces.keys import key
from search_spaces.spec import Ticket, Transfer
from trainables.store.ledger import Ledger
from tuner.evidence.flags import raised
from tuner.scheduling.worklist import Worklist

FORMAT = 1
Record = dict[str, Any]
Records = dict[str, list[Record]]

FOLDERS = {"structure": "kernels", "calibration": "images", "landscape": "landscapes"}

TABLES = {
    "similarity": "a pair of tickets of one pruning and level, from two thetas: intersection, "
    "union, similarity = intersection / union of kept weights, by_chance: of two random masks of "
    "these densities, by_chance_in_layers: of these layers' (Chen et al. 2022, figure A8 top)",
    "structure": "a ticket: kept, total; kernels, kernels_pruned (2-D kernels above 1 x 1, pruned "
    "whole; figure A8 bottom), filters, filters_pruned (output channels), layers (name, stage, "
    "shape, sparsity and the same counts); file: npz of kept weights per kernel, (out, in) a "
    "layer (figure 7)",
    "classes": "a transfer: sa, ra, lists over classes (null: no test images); images, how many",
    "agreement": "a pair of transfers of one task and regime, on the same test images: "
    "clean_agreement, attacked_agreement, share of images both get right or both wrong, and "
    "clean_kappa, attacked_kappa, that beyond chance (Cohen 1960)",
    "networks": "a transfer trained again: reproduced (all scores and images as stored), sa, ra, "
    "stored_sa, stored_ra",
    "calibration": "a transfer: clean_ and attacked_ ece, confidence, accuracy, bins (low, high, "
    "count, confidence, accuracy), per_class; file: npz of label, clean_prediction, "
    "clean_confidence, attacked_prediction, attacked_confidence, (images,) each",
    "landscape": "a transfer: clean_ and attacked_ loss, mean_rise (flatness: mean rise of the "
    "loss within radius of the trained weights, in filter-normalised random directions), "
    "top_eigenvalue (of the Hessian); explained: shares of the path's variance along its two "
    "directions; file: npz of random_x, random_y, random_clean, random_attacked, path_x, path_y, "
    "path_clean, path_attacked (surfaces (y, x)), path (epochs, 2), path_epochs (figures 6, A9)",
    "attacks": "a transfer: ra by attack (clean, white_box: the study's evaluation; pgd_K: K "
    "steps; huge: epsilon huge_epsilon; black_box: made on the surrogate, table A2), "
    "zero_gradients (share of images), surrogate (its transfer key), surrogate_theta, "
    "surrogate_seed",
    "autoattack": "a transfer: ra under AutoAttack on the first `images` test images, "
    "pgd_ra: under the study's evaluation on the same, epsilon, warnings: the library's own",
    "flags": "a sign of masked gradients: flag, rule, numbers. Transfers in `attacks` or "
    "`autoattack` without one here were looked at and show none",
}


@dataclass(frozen=True)
class Collected:
    """Records by table, and the npz files that they name, by their names there."""

    tables: Records
    arrays: dict[str, Path]


@dataclass(frozen=True)
class _Names:
    """A study's names for what evidence is about, by content key, and their order in the study."""

    labels: dict[str, Record]
    place: dict[str, int]


def collect(work: Worklist) -> Collected:
    """All evidence in the ledger on a study's finished tickets and transfers, in the study's
    order. Of two pieces on the same, as with other options, the later counts; of two AutoAttacks
    the one on more images."""
    names, ledger = _names(work), work.ledger
    records: dict[str, dict[tuple[int, ...], Record]] = {name: {} for name in TABLES}
    arrays: dict[str, Path] = {}
    flags: dict[tuple[int, str], Record] = {}
    for spec, result in _pieces(ledger):
        if not all(key(about) in names.place and ledger.has(about) for about in _subjects(spec)):
            continue
        for table, subjects, record in _records(spec, result, ledger):
            keys = [key(subject) for subject in subjects]
            where = tuple(names.place[k] for k in keys)
            if _on_fewer(table, record, records[table].get(where)):
                continue
            records[table][where] = {**_labelled(keys, names), **record}
            if other := record.get("surrogate"):
                own = {f"surrogate_{n}": names.labels[other][n] for n in ("theta", "seed")}
                records[table][where] |= own
            if source := record.get("file"):
                name = f"{FOLDERS[table]}/{keys[0]}.npz"
                records[table][where]["file"] = f"evidence/{name}"
                arrays[name] = ledger.file(spec, source)
        for transfer, flag in raised(spec, ledger):
            name = key(transfer)
            flags[names.place[name], flag.flag] = {**names.labels[name], **vars(flag)}
    tables = {name: [rows[where] for where in sorted(rows)] for name, rows in records.items()}
    return Collected({**tables, "flags": [flags[where] for where in sorted(flags)]}, arrays)


def _on_fewer(table: str, record: Record, held: Record | None) -> bool:
    """Is this an AutoAttack on fewer images than the one that is held?"""
    return table == "autoattack" and held is not None and record["images"] < held["images"]


def files(collected: Collected, skipped: list[str], missing: int) -> dict[str, bytes]:
    """The content of every artifact, by its name below evidence/. skipped: what cannot be had, and
    why; missing: how many pieces of the last plan failed."""
    written = {f"{name}.json": _json(rows) for name, rows in collected.tables.items()}
    index = {
        "format": FORMAT,
        "tables": TABLES,
        "records": {name: len(rows) for name, rows in collected.tables.items()},
        "skipped": skipped,
        "missing": missing,
    }
    return (
        written
        | {"index.json": _json(index)}
        | {name: path.read_bytes() for name, path in collected.arrays.items()}
    )


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode()


def _names(work: Worklist) -> _Names:
    labels: dict[str, Record] = {}
    for name, ticket in work.grid.tickets.items():
        labels[name] = {
            "theta": ticket.pretraining,
            "source_seed": ticket.ticket.theta.seed,
            "pruning": ticket.pruning,
            "level": ticket.level,
            "sparsity": ticket.sparsity,
            "key": name,
        }
    for name, cell in work.grid.transfers.items():
        labels[name] = {**cell.labels, "key": name}
    return _Names(labels, {name: place for place, name in enumerate(labels)})


def _labelled(keys: list[str], names: _Names) -> Record:
    """The labels of one subject, or of two behind first_ and second_."""
    if len(keys) == 1:
        return names.labels[keys[0]]
    return {
        f"{which}_{label}": value
        for which, name in zip(("first", "second"), keys, strict=True)
        for label, value in names.labels[name].items()
    }


def _subjects(spec: Evidence) -> tuple[Ticket | Transfer, ...]:
    match spec:
        case MaskEvidence():
            return spec.tickets
        case RecordEvidence():
            return spec.transfers
        case Retraining():
            return (spec.transfer,)
        case AttackEvidence(surrogate=Retraining(transfer=other)):
            return spec.network.transfer, other
        case _:
            return (spec.network.transfer,)


def _pieces(ledger: Ledger) -> list[tuple[Evidence, Record]]:
    """All evidence in the ledger with its results, by the time it was found."""
    folder = ledger.root / "evidence"
    pieces = []
    for place in sorted(folder.glob("[!.]*/spec.json")):
        try:
            spec = from_json(place.read_text(encoding="utf-8"))
        except ValidationError:
            continue  # Of another version, which knew other settings.
        if key(spec) == place.parent.name:  # A setting added since would change its key.
            pieces.append((spec, ledger.result(spec)))
    return sorted(pieces, key=lambda piece: piece[1]["ended"])


Labelled = tuple[str, tuple[Ticket | Transfer, ...], Record]


def _records(spec: Evidence, result: Record, ledger: Ledger) -> Iterator[Labelled]:
    """(table, what it is about, record) of everything a piece of evidence says."""
    if isinstance(spec, MaskEvidence):
        for place, ticket in enumerate(spec.tickets):
            yield "structure", (ticket,), {**result["structures"][place], "file": f"{place}.npz"}
        for pair in result["pairs"]:
            i, j = pair["pair"]
            record = {name: value for name, value in pair.items() if name != "pair"}
            yield "similarity", (spec.tickets[i], spec.tickets[j]), record
    elif isinstance(spec, RecordEvidence):
        for transfer, classes in zip(spec.transfers, result["classes"], strict=True):
            yield "classes", (transfer,), {**classes, "images": result["class_images"]}
        for pair in result["pairs"]:
            i, j = pair["pair"]
            record = _flat(_of(pair, "clean", "attacked"))
            yield "agreement", (spec.transfers[i], spec.transfers[j]), record
    elif isinstance(spec, Retraining):
        record = {**_of(result, "reproduced"), **result["test"], **_flat(_of(result, "stored"))}
        yield "networks", (spec.transfer,), record
    else:
        again = ledger.result(spec.network) if ledger.has(spec.network) else {}
        record = {**_of(again, "reproduced"), **_probed(spec, result)}
        yield spec.kind, (spec.network.transfer,), record


def _probed(spec: Probe, result: Record) -> Record:
    """What a network's probe says, without when and where."""
    match spec:
        case Landscape():
            own = {**_of(result, "radius", "images", "explained"), "reattack": spec.reattack}
            return {**_flat(result["flatness"]), **own, "file": "surfaces.npz"}
        case Calibration():
            views = _of(result, "clean", "attacked")
            return {**_flat(views), "images": result["images"], "file": "images.npz"}
        case AttackEvidence():
            other = key(spec.surrogate.transfer) if spec.surrogate else None
            own = {"surrogate": other, "huge_epsilon": spec.huge_epsilon}
            return {**_of(result, "ra", "zero_gradients", "images"), **own}
        case AutoAttackEvidence():
            return _of(result, "ra", "pgd_ra", "images", "epsilon", "warnings")


def _of(record: Record, *names: str) -> Record:
    return {name: record[name] for name in names if name in record}


def _flat(groups: Record) -> Record:
    """{"a": {"b": 1}} as {"a_b": 1}."""
    return {f"{group}_{name}": v for group, values in groups.items() for name, v in values.items()}
