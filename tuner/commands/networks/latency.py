"""python -m tuner latency: what sparsity gains when a network answers, measured."""

import json
from typing import Annotated, Any

import typer

from search_spaces.errors import InputError
from trainables.latency import kept
from tuner.commands.networks.named import NameArg, Named, StudyOpt, resolve
from tuner.options import DataOpt, SetOpt, StorageOpt, WithOpt, asked, note
from tuner.runtime.settings import Settings
from tuner.runtime.settings import named as command_line

BatchesOpt = Annotated[str, typer.Option("--batch", help="Images at once, as in 1,64.")]
ThreadsOpt = Annotated[int, typer.Option(min=1, help="CPU threads of each way to run it.")]
SecondsOpt = Annotated[float, typer.Option(min=0, help="At least, for each batch size.")]
DeviceOpt = Annotated[str, typer.Option(help="cpu or cuda.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="All numbers, as JSON.")]


def latency(
    name: NameArg,
    study: StudyOpt = "quickstart",
    overrides: SetOpt = None,
    fragments: WithOpt = None,
    storage: StorageOpt = Settings.storage,
    data: DataOpt = Settings.data,
    batch: BatchesOpt = "1,64",
    threads: ThreadsOpt = 1,
    seconds: SecondsOpt = 5.0,
    device: DeviceOpt = "cpu",
    as_json: JsonOpt = False,
) -> None:
    """Measure how fast a finished ticket or transfer answers: dense, as it is, without the channels
    that do nothing, by sparse products, by ONNX Runtime; in turns, with memory, size and accuracy.

    What is measured is kept in the storage, and stands in the study's report after a sync.
    """
    batches = _batches(batch)
    origin, settings = asked(study, overrides, fragments), Settings(storage, data)
    of = resolve(name, origin, settings)
    record = _measured(of, batches, threads, seconds, device)
    kept.keep(of.ledger.root, of.key, record)
    if as_json:
        typer.echo(json.dumps(record, indent=1))
        return
    for line in _lines(record):
        typer.echo(line)
    note(f"for the report: python -m tuner sync {command_line(origin, settings)}")


def _batches(text: str) -> list[int]:
    try:
        batches = [int(part) for part in text.split(",")]
    except ValueError:
        batches = []
    if not batches or min(batches) < 1:
        raise InputError(f"--batch {text}: takes whole numbers from 1, as in 1,64")
    return list(dict.fromkeys(batches))


def _measured(
    of: Named, batches: list[int], threads: int, seconds: float, device: str
) -> dict[str, Any]:
    """The record of a measurement, under the study's names."""
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}: takes cpu or cuda")
    import torch

    from trainables.export.taken import take
    from trainables.latency.measure import Asked, measure

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU: take --device cpu")
    wish = Asked(batches, seconds, threads, torch.device(device))
    return {
        "name": of.path,
        "key": of.key,
        "labels": of.labels,
        "arch": of.ticket_cell.ticket.theta.model.arch,
        "tested": _tested(of, of.cell),
        "dense_tested": _tested(of, of.dense),
        **measure(take(of.spec, of.ledger), wish),
    }


def _tested(of: Named, cell: Any) -> dict[str, float] | None:
    """SA and RA of a transfer, as its study has them; None of a ticket, or where it is missing."""
    transfer = getattr(cell, "transfer", None)
    if transfer is None or not of.ledger.has(transfer):
        return None
    scores: dict[str, float] = of.ledger.result(transfer)["test"]
    return scores


def _lines(record: dict[str, Any]) -> list[str]:
    from trainables.latency.table import lines

    channels, height, width = record["image"]
    labels = record["labels"]
    head = [
        f"{record['name']}: {100 * labels['sparsity']:.2f} % of {record['arch']} pruned",
        f"{channels} x {height} x {width} pixels, {record['device']} ({record['processor']}), "
        f"{record['threads']} thread{'s' * (record['threads'] > 1)}, torch {record['torch']}",
    ]
    for who, scores in (("it", record["tested"]), ("dense", record["dense_tested"])):
        if scores:
            head.append(f"{who}: SA {100 * scores['sa']:.1f}, RA {100 * scores['ra']:.1f}")
    return [*head, "", *lines(record)]
