"""Two processes of a chain decide alike, where each by itself would decide otherwise."""

import pytest
import torch

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.spec import Scores
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.store.ledger import open_ledger
from trainables.training.ranks import Shard

YAML = """
name: tiny
source:
  dataset: {name: digits, size: 8, limit: 64}
  model: {arch: resnet8, width: 8}
  pretrainings:
    fast_adversarial:
      train:
        attack: {kind: fgsm, epsilon: 0.1, alpha: 0.1}
        containment: {on_collapse: stop, probe_images: 16, patience: 1}
        recipe: {epochs: 4, batch_size: 32, lr: 0.05}
pruning:
  imp: {method: imp, rounds: 3, retraining: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}
downstream:
  - {dataset: {name: digits, size: 8, limit: 64}, levels: [0], seeds: [0],
     regimes: {standard: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}}}}
evaluation: {attack: {kind: pgd, steps: 1, epsilon: 0.1, alpha: 0.1}}
"""


def _rank(rank, folder):
    """One of two processes. Each sees other validation scores (the best epoch is the second by
    one, the last by the other), other signals (a collapse, by the second alone), and prunes by
    other magnitudes."""
    from torch import distributed as dist

    from trainables.jobs import chain as chains
    from trainables.pruning import tickets
    from trainables.training import loop
    from trainables.training.overfitting import Signals

    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    robust = iter([[0.1, 0.9, 0.2, 0.3], [0.1, 0.2, 0.3, 0.9]][rank])
    loop.validate = lambda *_: Scores(sa=0.5, ra=next(robust))
    shown = iter([(0.9, 0.9), (0.9, 0.9 if rank == 0 else 0.0)] + [(0.9, 0.9)] * 9)

    def probe(*_, **__):
        fgsm, pgd = next(shown)
        return Signals(fgsm=fgsm, pgd=pgd, cosine=1.0)

    loop.probe = probe
    prune, fit = tickets.keep, chains.fit
    went_on_with = []

    def other_scores(scores, *others):
        noise = torch.Generator().manual_seed(rank)
        noisy = {n: s + torch.rand(s.shape, generator=noise) for n, s in scores.items()}
        return prune(noisy if rank else scores, *others)

    def spied(model, *args, **more):
        state = {n: v.clone() for n, v in model.module.state_dict().items()}
        went_on_with.append((state, more["mask"]))
        return fit(model, *args, **more)

    tickets.keep, chains.fit = other_scores, spied
    study = studies.validate(studies.parse(YAML, "tiny"), "tiny")
    chain = Chain(theta=grid.thetas(study)[0].theta, plans=tuple(study.pruning.values()))
    worker = Worker(open_ledger(folder / "results"), Shard(rank, 2), torch.device("cpu"))
    made = [type(spec).__name__ for spec in run_chain(chain, worker)]
    torch.save((made, went_on_with), folder / str(rank))
    dist.destroy_process_group()


def test_ranks_decide_as_the_first_does(tmp_path):
    torch.multiprocessing.spawn(_rank, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / str(rank), weights_only=True) for rank in (0, 1))
    assert first[0] == second[0] == ["Theta", "Ticket", "Ticket", "Ticket"]
    assert len(first[1]) == len(second[1]) == 2
    for (state, mask), (other_state, other_mask) in zip(first[1], second[1], strict=True):
        assert all(torch.equal(value, other_state[name]) for name, value in state.items())
        assert all(torch.equal(value, other_mask[name]) for name, value in mask.items())
    study = studies.validate(studies.parse(YAML, "tiny"), "tiny")
    result = open_ledger(tmp_path / "results").result(grid.thetas(study)[0].theta)
    assert result["best_epoch"] == 2 and result["state"] == "complete"


def test_a_process_by_itself_decides_by_itself():
    from trainables.training.ranks import any_of, from_first

    value = object()
    assert from_first(value) is value
    assert any_of(torch.tensor(True)) and not any_of(torch.tensor(False))


@pytest.mark.parametrize("bad", [0, 1])
def test_what_diverges_on_one_rank_ends_on_both(bad, tmp_path):
    torch.multiprocessing.spawn(_bad_rank, (tmp_path, bad), nprocs=2)


def _bad_rank(rank, folder, bad):
    from torch import distributed as dist

    from trainables.training.ranks import any_of

    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    assert any_of(torch.tensor(rank == bad))
    assert not any_of(torch.tensor(False))
    dist.destroy_process_group()
