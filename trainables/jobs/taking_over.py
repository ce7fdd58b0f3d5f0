"""Thetas and tickets taken over from results that were trained alike and judged otherwise."""

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from safetensors.torch import load

from search_spaces.errors import InputError
from search_spaces.finished.weights import trained
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket
from trainables.data import datasets
from trainables.jobs.theta import Worker, network
from trainables.store.ledger import DamagedError, Ledger
from trainables.store.records import now, provenance
from trainables.training.evaluation import evaluate_test
from trainables.training.ranks import from_first


def alike(
    missing: Collection[Theta | Ticket], ledger: Ledger
) -> dict[Theta | Ticket, Theta | Ticket]:
    """Which results the ledger has in place of missing ones: trained alike, judged otherwise."""
    kinds = {type(spec) for spec in missing}
    there = {key(trained(spec)): spec for kind in kinds for spec in ledger.all(kind)}
    wanted = {spec: key(trained(spec)) for spec in missing}
    return {spec: there[name] for spec, name in wanted.items() if name in there}


def take_over(missing: Collection[Theta | Ticket], worker: Worker) -> list[Theta | Ticket]:
    """Writes what of the missing results takes no training, since the ledger has one that was
    trained alike: a theta is judged anew, a ticket's files are the same. Returns these, in order;
    what is damaged there is left for a training. With several processes, the first does it and all
    return the same."""
    taken: list[Theta | Ticket] = []
    if worker.shard.rank == 0:
        ledger = worker.ledger
        for spec, other in alike(missing, ledger).items():
            with suppress(DamagedError, InputError):
                started = now()
                result, files = ledger.result(other), ledger.files(other)
                if isinstance(spec, Theta):
                    judged = _judged(spec, files["weights.safetensors"], "test" in result, worker)
                    when = provenance(started, worker.device)
                    result = {**result, **judged, "judged": when}
                ledger.write(spec, result, files)
                taken.append(spec)
    return from_first(taken)


def _judged(theta: Theta, content: bytes, trained: bool, worker: Worker) -> dict[str, Any]:
    """The part of a theta's result that its evaluation decides: scores on the source's test images
    or, of published weights, which may have been trained on these, on validation images."""
    net = network(theta, worker.device)
    net.load_state_dict(load(content))
    data = datasets.splits_on(theta.dataset, worker.device)
    view, images = ("test", data.test) if trained else ("source_val", data.val)
    return {view: evaluate_test(net, images, theta.evaluation).scores.model_dump()}
