"""A winning ticket in the registry is a model that MLflow's own functions load."""

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from analysis.verdict.flags import verdicts
from analysis.verdict.results import Results
from search_spaces import grid
from tests.support import finished
from tests.support.mlflow_store import empty_store
from trainables.jobs.transfer import trained_network
from trainables.store.ledger import open_ledger
from tuner.scheduling.worklist import worklist
from tuner.storage import state
from tuner.tracking import backend, models, opening, registry

MODEL = "tiny-standard-mnist-mini"
IMAGES = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    """A finished study in MLflow."""
    folder = tmp_path_factory.mktemp("registered")
    ledger = open_ledger(folder / "results")
    study = finished.finish(finished.write(folder), ledger)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        client = backend.connect()
        client.create_experiment("tiny", artifact_location=(folder / "artifacts").as_uri())
        tracker = opening.open_tracker(client, worklist(study, ledger), "tiny.yaml")
        tracker.catch_up()
        yield tracker


def winning(tracker, lost=0.0):
    """The study's winners, were every score the same but the tickets' SA, which is lower."""
    results = state.results(tracker.work)
    (task,) = results.study.downstream
    tolerant = task.model_copy(update={"margin": 0.3})
    study = results.study.model_copy(update={"downstream": (tolerant,)})
    sa = 0.9 - lost * (results.expected["level"] > 0)
    table = pd.concat([results.expected.assign(SA=sa, RA=0.5, seed=seed) for seed in (0, 1)])
    judged = Results(study, table, {})
    verdict, shown = verdicts(judged, pd.DataFrame())
    return registry.winners(tracker.work, verdict, shown, pd.DataFrame())


@pytest.fixture(scope="module")
def registered(tracker):
    """The transfer whose network is registered."""
    (winner,) = found = winning(tracker)
    registry.register(tracker, found, complete=True)
    return models.network(tracker.work, winner.cell.key, "mnist-mini", 1.0)


def expected(tracker, cell):
    net = trained_network(cell.transfer, tracker.work.ledger, torch.device("cpu"))
    with torch.no_grad():
        return net(torch.from_numpy(IMAGES)).numpy()


def test_the_network_is_the_adversarial_transfers_of_the_ticket(tracker, registered):
    assert (registered.regime, registered.ticket_cell.level) == ("adversarial", finished.LEVEL)
    held = tracker.client.get_model_version_by_alias(MODEL, registry.BY_PAPER)
    assert held.tags["network"] == registered.key
    assert "mlflow.pytorch.load_model" in held.description


def test_mlflow_loads_it_as_a_module_and_as_a_function(tracker, registered):
    logits = expected(tracker, registered)
    address = f"models:/{MODEL}@{registry.BY_PAPER}"
    net = mlflow.pytorch.load_model(address)
    np.testing.assert_array_equal(net(torch.from_numpy(IMAGES)).detach().numpy(), logits)
    function = mlflow.pyfunc.load_model(address)
    np.testing.assert_array_equal(function.predict(IMAGES), logits)
    assert function.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    assert function.input_example.shape == (2, 1, 8, 8)


def test_registering_again_makes_nothing_twice(tracker, registered):
    registry.register(tracker, winning(tracker), complete=True)
    assert len(tracker.client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_what_wins_by_evidence_alone_is_registered_as_that(tracker, registered):
    (winner,) = winning(tracker, lost=0.05)
    assert winner.aliases == (registry.BY_EVIDENCE,)
    registry.register(tracker, [winner], complete=True)
    (model,) = tracker.client.search_registered_models()
    (alias,) = model.aliases
    assert alias == registry.BY_EVIDENCE
    card = tracker.client.get_model_version_by_alias(MODEL, alias).description
    assert "lose less than 30 points" in card and "| 85.0 | 90.0 ± 0.0 |" in card
    assert f"models:/{MODEL}@{alias}" in card and registry.BY_PAPER not in card
    registry.register(tracker, winning(tracker), complete=True)
    (model,) = tracker.client.search_registered_models()
    assert model.aliases.keys() == {registry.BY_PAPER, registry.BY_EVIDENCE}


def test_a_network_that_cannot_be_traced_is_registered_as_its_ticket(
    tracker, registered, monkeypatch
):
    def fails(taken):
        raise RuntimeError("data-dependent")

    monkeypatch.setattr(models, "as_model", fails)
    held = tracker.client.get_model_version_by_alias(MODEL, registry.BY_PAPER)
    tracker.client.delete_model_version(MODEL, held.version)
    registry.register(tracker, winning(tracker), complete=True)
    now = tracker.client.get_model_version_by_alias(MODEL, registry.BY_PAPER)
    assert now.tags["not_a_model"] == "data-dependent" and "network" not in now.tags
    assert "load_model" not in now.description


def test_without_kept_weights_there_is_no_network(tracker):
    (cell,) = grid.tickets(tracker.work.study)
    assert models.network(tracker.work, cell.key, "mnist-mini", 0.5) is None
