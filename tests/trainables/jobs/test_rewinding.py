"""What is under a ticket's mask: theta, its pre-training's earlier weights, or what was pruned."""

import json

import pytest
import torch

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.study import PruningPlan
from tests.support.studies import tiny
from trainables.data import datasets
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker, after_epoch, network
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training.loop import fit
from trainables.training.ranks import Shard

RETRAINING = {"recipe": {"epochs": 1, "batch_size": 32, "lr": 0.1}}
SMALL = [
    "source.dataset.limit=96",
    "source.pretrainings.standard.train.recipe.epochs=3",
    "downstream.0.dataset.limit=64",
    "downstream.0.levels=[0]",
]


def pruned(**plan):
    """The study with one pruning, IMP of two rounds unless it says another."""
    imp = {"method": "imp", "rounds": 2, "retraining": RETRAINING}
    pruning = PruningPlan.model_validate(imp | plan)
    return tiny(*SMALL).model_copy(update={"pruning": {"p": pruning}})


def worker(path):
    return Worker(open_ledger(path), Shard(), torch.device("cpu"))


def chain_of(study):
    theta = grid.thetas(study)[0]
    return Chain(theta=theta.theta, plans=study.plans("standard", theta.theta.seed))


def made(study, at):
    """(theta's weights, [(mask, weights, result) of each level]) of a chain, run to its end."""
    chain, ledger = chain_of(study), at.ledger
    list(run_chain(chain, at))
    tickets = [
        (
            read(ledger.file(ticket, "mask.safetensors")),
            read(ledger.file(ticket.start, "weights.safetensors")),
            ledger.result(ticket),
        )
        for ticket in chain.plan_tickets(chain.plans[0])
    ]
    return read(ledger.file(chain.theta, "weights.safetensors")), tickets


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_a_ticket_that_rewinds_to_theta_holds_no_weights(tmp_path):
    at, study = worker(tmp_path), pruned()
    theta, tickets = made(study, at)
    assert all(same(weights, theta) for _, weights, _ in tickets)
    cell = grid.tickets(study)[0]
    assert not (at.ledger.folder(cell.ticket) / "weights.safetensors").exists()


@pytest.mark.parametrize("method", ["imp", "one_shot"])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_late_is_the_state_that_the_pretraining_had(tmp_path, method, epoch):
    """Outside truth: a training of our own from the same initialisation, stopped there."""
    counted = {"rounds": 2} if method == "imp" else {"levels": [1, 2]}
    plan = {"method": method, "rewind": "late", "rewind_epoch": epoch, **counted}
    if method == "one_shot":
        plan |= {"retraining": None, "rounds": None}
    study, at = pruned(**plan), worker(tmp_path)
    _, tickets = made(study, at)
    spec = grid.thetas(study)[0].theta
    net = network(spec, at.device)
    regime, data = spec.pretraining.train, datasets.splits(spec.dataset)
    for done in fit(net, data, regime, spec.seed) if epoch else ():
        if done.number == epoch:
            break
    for _, weights, result in tickets:
        assert same(weights, net.state_dict())
        assert result["rewound"] == {"epoch": epoch, "repeats_pretraining": True}
    # Theta is what is pruned, whatever is under the mask.
    _, plain = made(pruned(**{**plan, "rewind": "theta", "rewind_epoch": None}), at)
    assert same(tickets[0][0], plain[0][0])


def test_a_theta_of_other_losses_is_not_repeated(tmp_path):
    """As where it was trained on another kind of machine."""
    at, spec = worker(tmp_path), grid.thetas(pruned())[0].theta
    at.ledger.write(spec, {"epochs": [{"loss": 0.5}, {"loss": 0.4}]}, {})
    _, repeated = after_epoch(spec, 2, at)
    assert not repeated


@pytest.mark.parametrize("rewind", ["none", "learning_rate"])
def test_weights_that_go_on_are_those_that_were_pruned(tmp_path, rewind):
    theta, tickets = made(pruned(rewind=rewind), worker(tmp_path))
    (first, weights, _), (second, trained, _) = tickets
    assert same(weights, theta) and not same(trained, theta)
    for name, mask in second.items():
        # The first mask's re-training left nothing where it had pruned, and decided the second.
        assert not trained[name][~first[name]].any()
        assert not (mask & ~first[name]).any()
    sizes = torch.cat([trained[name][first[name]].abs() for name in first])
    kept = torch.cat([second[name][first[name]] for name in first])
    assert sizes[kept].min() >= sizes[~kept].max()


def test_fine_tuning_stays_at_the_last_learning_rate(tmp_path):
    falling = {"kind": "multistep", "milestones": [1], "gamma": 0.01}
    recipe = {"epochs": 2, "batch_size": 32, "lr": 0.1, "schedule": falling}
    schedules = {
        "none": {**recipe, "lr": 0.001, "schedule": {"kind": "constant"}},
        "learning_rate": recipe,
    }
    for rewind, expected in schedules.items():
        plan = {"rewind": rewind, "retraining": {"recipe": recipe}}
        same_as = {"rewind": "learning_rate", "retraining": {"recipe": expected}}
        _, found = made(pruned(**plan), worker(tmp_path / rewind))
        _, wanted = made(pruned(**same_as), worker(tmp_path / f"{rewind}-2"))
        assert same(found[1][1], wanted[1][1])


@pytest.mark.parametrize("rewind", ["late", "none", "learning_rate"])
def test_an_interrupted_chain_resumes_to_the_same_tickets(tmp_path, rewind):
    plan = {"rounds": 3, "rewind": rewind}
    study = pruned(**plan, rewind_epoch=1 if rewind == "late" else None)
    _, whole = made(study, worker(tmp_path / "whole"))
    at = worker(tmp_path / "interrupted")
    steps = run_chain(chain_of(study), at)
    for _ in range(3):  # Theta and two tickets.
        next(steps)
    steps.close()
    _, resumed = made(study, at)
    for one, other in zip(whole, resumed, strict=True):
        assert same(one[0], other[0]) and same(one[1], other[1])
        assert one[2].get("rewound") == other[2].get("rewound")


def test_a_transfer_starts_from_the_tickets_own_weights(tmp_path):
    study = pruned(rewind="learning_rate").model_copy(
        update={"downstream": tiny(*SMALL[:-1]).downstream}
    )
    at = worker(tmp_path)
    theta, tickets = made(study, at)
    mask, weights, _ = tickets[1]
    cell = next(c for c in grid.transfers(study) if c.ticket_cell.level == 2)
    state = transfer.prepare(cell.transfer, at.ledger, at.device).net.state_dict()
    assert all(torch.equal(state[name], weights[name] * kept) for name, kept in mask.items())
    assert not all(torch.equal(state[name], theta[name] * kept) for name, kept in mask.items())


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ({"rewind": "late"}, "rewind_epoch"),
        ({"rewind_epoch": 2}, "rewind_epoch"),
        ({"rewind": "late", "rewind_epoch": 9}, "3 epochs"),
        ({"method": "one_shot", "levels": [1], "rewind": "none"}, "one_shot"),
        (
            {
                "method": "imp",
                "rounds": 2,
                "rewind": "none",
                "retraining": {"recipe": {**RETRAINING["recipe"], "schedule": {"kind": "cosine"}}},
            },
            "cosine",
        ),
    ],
)
def test_what_cannot_be_rewound_is_refused(plan, named):
    given = {"method": "random", "levels": [1], **plan} if "method" not in plan else plan
    with pytest.raises(InputError, match=named):
        tiny(*SMALL[:2], f"pruning={json.dumps({'p': given})}", "downstream.0.levels=[0, 1]")


def test_published_weights_have_no_earlier_ones():
    pruning = {"p": {"method": "one_shot", "levels": [1], "rewind": "late", "rewind_epoch": 1}}
    load = {"load": {"format": "state_dict", "path": "w.pt"}}
    given = [f"pruning={json.dumps(pruning)}", "downstream.0.levels=[0, 1]"]
    more = f"source.pretrainings.theirs={json.dumps(load)}"
    with pytest.raises(InputError, match="theirs"):
        tiny(*SMALL[:2], *given, more)
    pruning["p"]["pretrainings"] = ["standard"]
    assert tiny(*SMALL[:2], f"pruning={json.dumps(pruning)}", given[1], more)
