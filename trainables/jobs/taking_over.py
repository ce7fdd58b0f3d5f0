"""Thetas and tickets taken over from results that were trained alike and judged otherwise."""

from collections.abc import Collection
from contextlib import suppress

from safetensors.torch import load

from search_spaces.errors import InputError
from search_spaces.finished.weights import trained
from search_spaces.keys import key
from search_spaces.spec import Theta, Ticket
from trainables.jobs.theta import Worker, judged, network
from trainables.store.ledger import DamagedError, Ledger
from trainables.store.records import now, provenance
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
                    net = network(spec, worker.device)
                    net.load_state_dict(load(files["weights.safetensors"]))
                    result |= judged(spec, net, worker)
                    result["judged"] = provenance(started, worker.device)
                ledger.write(spec, result, files)
                taken.append(spec)
    return from_first(taken)
