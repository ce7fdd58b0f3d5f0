"""The disk that plan speaks of, against files of the sizes that a study writes."""

import numpy as np
import pytest
import safetensors.numpy

from search_spaces import grid
from search_spaces.reading import studies
from trainables.estimate import work
from trainables.models import resnets
from trainables.store.ledger import Ledger, open_ledger
from tuner.cluster.capacity import Capacity
from tuner.estimate import cost, prices
from tuner.estimate.disk import disk
from tuner.estimate.workload import workload
from tuner.storage.state import standing

TWO_CORES = Capacity(cpus=2, gpus=0, workers=1, trial_cpus=1, trial_gpus=0)
WHERE = {"started": 1.7e9 + 0.123456, "ended": 1.7e9 + 9.123456, "host": "a-host-of-some-name"}
SCORES = {"sa": 0.9123456789, "ra": 0.4123456789}


@pytest.fixture(scope="module")
def study():
    return studies.load("quickstart")


@pytest.fixture(scope="module")
def net(study):
    return resnets.build(study.source.model, 10, (0.5,), (0.5,), 0)


def priced(of, net):
    prunable = sum(w.numel() for name, w in net.named_parameters() if w.ndim == 4)
    parameters = sum(w.numel() for w in net.parameters())
    price = prices.Price(0.01, 0.05, 64, parameters=parameters, prunable=prunable)
    return dict.fromkeys(cost.kinds(of), price)


def write(study, ledger, net):
    """What a run leaves: real sizes, made-up numbers."""
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    mask = {name: value > 0 for name, value in state.items() if value.ndim == 4}
    for theta in grid.thetas(study):
        epochs = [epoch(n) for n in range(theta.theta.pretraining.train.recipe.epochs)]
        files = {"weights.safetensors": safetensors.numpy.save(state)}
        ledger.write(theta.theta, {**WHERE, "test": SCORES, "epochs": epochs}, files)
    for ticket in grid.tickets(study):
        layers = dict.fromkeys(mask, 0.123456789)
        files = {"mask.safetensors": safetensors.numpy.save(mask)}
        ledger.write(ticket.ticket, {**WHERE, "layers": layers}, files)
    for cell in grid.transfers(study):
        images = work.sizes(cell.transfer.dataset).test
        bits = dict.fromkeys(("clean", "attacked"), np.ones(images, bool))
        epochs = [epoch(n) for n in range(cell.transfer.regime.recipe.epochs)]
        result = {**WHERE, "test": SCORES, "last": SCORES, "val": SCORES, "epochs": epochs}
        ledger.write(cell.transfer, result, {"correct.safetensors": safetensors.numpy.save(bits)})


def epoch(number):
    numbers = ("loss", "accuracy", "lr", "seconds", "alpha")
    return {"number": number, **dict.fromkeys(numbers, 0.1234567890123456), "val": SCORES}


def taken(root):
    """In blocks of 4096 bytes, as most file systems give them."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file())


def test_results_take_what_plan_says(study, net, tmp_path):
    ledger = open_ledger(tmp_path)
    todo = workload(study, standing(study, ledger), workers=1)
    said = disk(todo, priced(todo, net), TWO_CORES)
    write(study, ledger, net)
    folders = len(ledger.all_keys()) * 4096
    assert said.results == pytest.approx(taken(tmp_path) + folders, rel=0.15)
    parameters = sum(w.numel() for w in net.parameters())
    assert said.unfinished == 2 * 3 * 4 * parameters * 3, "three chains side by side"
    masks = 43 * 76_000
    assert masks < said.mlflow < 3 * masks


def test_what_is_not_known_is_not_said(study, tmp_path):
    todo = workload(study, standing(study, Ledger(tmp_path)), workers=1)
    assert disk(todo, {}, TWO_CORES) is None
