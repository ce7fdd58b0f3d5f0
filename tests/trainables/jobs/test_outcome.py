"""What has come of a training, whatever it was for."""

import pytest
import torch

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.regimes import Attack, Containment, Recipe, Regime
from search_spaces.spec import Scores
from trainables.jobs import chain as chains
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.outcome import outcome, outcomes
from trainables.jobs.theta import Worker
from trainables.pruning import masks
from trainables.store.checkpoints import TrainingCheckpoint
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training import loop
from trainables.training.loop import Best, Epoch, Progress, snapshot
from trainables.training.overfitting import Signals
from trainables.training.ranks import Shard

FGSM = Attack(kind="fgsm", epsilon=0.1, alpha=0.1)


def regime(on_collapse="stop", epochs=4):
    return Regime(
        recipe=Recipe(epochs=epochs, lr=0.1),
        attack=FGSM,
        containment=Containment(on_collapse=on_collapse),
    )


def training(collapses_at=None, diverges_at=None, epochs=4, best=True):
    """Epochs whose best is always the latest."""

    def start(progress):
        for number in range(progress.epoch + 1 if progress else 1, epochs + 1):
            if number == diverges_at:
                raise FloatingPointError(f"diverged in epoch {number}")
            state = {"w": torch.tensor([float(number)])}
            this = Best(number, Scores(sa=0.5), state) if best else None
            yield Epoch(
                number,
                loss=0.0,
                accuracy=0.0,
                lr=0.1,
                alpha=None,
                seconds=0.0,
                val=None,
                signals=None,
                collapsed=number == collapses_at,
                best=this,
                progress=lambda n=number, b=this: Progress(n, {}, {}, None, (), b),
            )

    return start


def shown(found):
    return [(o.state, o.best and o.best.epoch, len(o.records)) for o in found]


def test_it_ends_after_the_last_epoch():
    assert shown(outcomes(training(), regime())) == [
        ("running", 1, 1),
        ("running", 2, 2),
        ("running", 3, 3),
        ("complete", 4, 4),
    ]


@pytest.mark.parametrize(
    ("on_collapse", "state", "epochs"),
    [("stop", "co_stopped", 2), ("continue", "complete", 4), ("lower_alpha", "complete", 4)],
)
def test_a_collapse_ends_it_where_the_containment_says_so(on_collapse, state, epochs):
    reached = outcome(training(collapses_at=2), regime(on_collapse))
    assert (reached.state, len(reached.records)) == (state, epochs)
    assert reached.collapsed is (on_collapse == "stop")


def test_a_collapse_in_the_last_epoch_is_known_where_it_ends_nothing():
    reached = outcome(training(collapses_at=4), regime("continue"))
    assert (reached.state, reached.collapsed) == ("complete", True)


@pytest.mark.parametrize(("at", "best"), [(1, None), (3, 2)])
def test_what_diverges_has_its_best_before(at, best):
    reached = outcome(training(diverges_at=at), regime())
    assert shown([reached]) == [("diverged", best, at - 1)]
    assert reached.reason == f"diverged in epoch {at}" and reached.ended
    assert reached.last.get("number") == best


def test_what_diverges_after_an_interruption_has_its_best_before_that(tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path / "x", seconds=0)
    begun = outcomes(training(), regime(), checkpoint)
    for _ in range(3):
        next(begun)
    begun.close()
    reached = outcome(training(diverges_at=3), regime(), checkpoint)
    assert shown([reached]) == [("diverged", 2, 2)]
    whole = outcome(training(), regime(), checkpoint)
    assert [record["number"] for record in whole.records] == [1, 2, 3, 4]


YAML = """
name: tiny
source:
  dataset: {name: digits, size: 8, limit: 64}
  model: {arch: resnet8, width: 8}
  pretrainings: {standard: {train: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}}
pruning:
  imp:
    method: imp
    rounds: 2
    retraining:
      attack: {kind: fgsm, epsilon: 0.1, alpha: 0.1}
      containment: {on_collapse: ON_COLLAPSE, patience: 1}
      recipe: {epochs: 3, batch_size: 32, lr: 0.05}
downstream:
  - {dataset: {name: digits, size: 8, limit: 64}, levels: [0], seeds: [0],
     regimes: {standard: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}}
evaluation: {attack: {kind: pgd, steps: 1, epsilon: 0.1, alpha: 0.1}}
"""


@pytest.mark.parametrize("on_collapse", ["stop", "continue", "lower_alpha"])
@pytest.mark.parametrize("collapses", [True, False])
def test_a_collapsed_round_decides_no_mask(tmp_path, monkeypatch, on_collapse, collapses):
    """Re-training collapses after its best epoch, the second of three: the second level's mask is
    that epoch's. One that stays sound prunes by its last weights, as published."""
    study = studies.validate(
        studies.parse(YAML.replace("ON_COLLAPSE", on_collapse), "tiny"), "tiny"
    )
    signals = iter([(0.6, 0.5), (0.6, 0.5), (0.9, 0.0 if collapses else 0.5)])
    robust = iter([0.3, 0.4, 0.0])
    after = {}
    real = chains.fit

    def spied(model, *args, **more):
        monkeypatch.setattr(loop, "probe", lambda *_, **__: Signals(*next(signals), cosine=1.0))
        monkeypatch.setattr(loop, "validate", lambda *_: Scores(sa=0.5, ra=next(robust)))
        for epoch in real(model, *args, **more):
            after[epoch.number] = snapshot(model)
            yield epoch

    monkeypatch.setattr(chains, "fit", spied)
    worker = Worker(open_ledger(tmp_path), Shard(), torch.device("cpu"))
    chain = Chain(theta=grid.thetas(study)[0].theta, plans=tuple(study.pruning.values()))
    *_, first, second = run_chain(chain, worker)
    mask = read(worker.ledger.file(second, "mask.safetensors"))
    before = read(worker.ledger.file(first, "mask.safetensors"))
    keep = masks.counts(mask)[0]
    decided = after[2 if collapses else 3]
    expected = masks.prune_by_magnitude(decided, before, keep)
    other = masks.prune_by_magnitude(after[3 if collapses else 2], before, keep)
    assert all(torch.equal(mask[name], expected[name]) for name in mask)
    assert not all(torch.equal(mask[name], other[name]) for name in mask)
    said = worker.ledger.result(second).get("retraining")
    assert said == ({"collapsed": True, "best_epoch": 2} if collapses else None)
