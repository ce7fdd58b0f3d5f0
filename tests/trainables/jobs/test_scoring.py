"""Tickets by every criterion, the user's own among them, in a chain."""

import pytest
import torch
import yaml

from search_spaces.errors import InputError
from search_spaces.study import PruningPlan
from tests.support.pages import as_mine, blocks
from tests.support.studies import tiny
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.scoring import shown
from trainables.jobs.theta import Worker
from trainables.pruning.masks import counts
from trainables.store.ledger import open_ledger
from trainables.store.tensors import read
from trainables.training.ranks import Shard
from tuner.storage.inputs import check, resolve

METHODS = ["one_shot", "random", "snip", "grasp", "synflow"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The page's own criterion, as a user has it."""
    (code,) = blocks("pruning.md", "python")
    yield from as_mine(code, tmp_path, monkeypatch)


def with_plans(**plans):
    study = tiny("source.dataset.limit=96", "source.dataset.size=8")
    plans = {name: PruningPlan.model_validate(plan) for name, plan in plans.items()}
    return study.model_copy(update={"pruning": plans})


def made(study, folder):
    """{(pruning, level): (mask, result)} of a chain, run to its end."""
    from search_spaces import grid

    theta = grid.thetas(study)[0]
    chain = Chain(theta=theta.theta, plans=study.plans("standard", theta.theta.seed))
    ledger = open_ledger(folder)
    list(run_chain(chain, Worker(ledger, Shard(), torch.device("cpu"))))
    return {
        (cell.pruning, cell.level): (
            read(ledger.file(cell.ticket, "mask.safetensors")),
            ledger.result(cell.ticket),
        )
        for cell in grid.tickets(study)
        if cell.replicate in (None, 0)
    }


def test_every_criterion_at_two_levels_with_exact_counts(tmp_path):
    plans = {name: {"method": name, "levels": [3, 8]} for name in METHODS}
    attack = {"kind": "pgd", "steps": 2, "epsilon": 0.1, "alpha": 0.1}
    training = {"attack": attack, "recipe": {"epochs": 1, "batch_size": 32, "lr": 0.1}}
    plans["hydra"] = {"method": "hydra", "levels": [3, 8], "retraining": training}
    tickets = made(with_plans(**plans), tmp_path)
    assert len(tickets) == 2 * len(plans)
    for (_, level), (mask, result) in tickets.items():
        kept, total = counts(mask)
        assert (result["kept"], result["total"]) == (kept, total)
        assert kept == round(total * 0.8**level)
    distinct = {
        tuple(torch.cat([m.flatten() for m in mask.values()]).nonzero().flatten().tolist())
        for (_, level), (mask, _) in tickets.items()
        if level == 8
    }
    assert len(distinct) == len(plans)


def test_whole_channels_by_every_criterion_with_counts_as_recorded(tmp_path):
    pytest.importorskip("torch_pruning", reason="needs the extra [channels]")
    plans = {name: {"method": name, "levels": [3, 8], "scope": "layer"} for name in METHODS}
    plans["synflow"] = {"method": "synflow", "levels": [3]}
    training = {"recipe": {"epochs": 1, "batch_size": 32, "lr": 0.1}}
    plans["imp"] = {"method": "imp", "rounds": 3, "retraining": training}
    study = with_plans(**{name: {**plan, "structure": "channel"} for name, plan in plans.items()})
    check(resolve(study, tmp_path))
    for (_, level), (mask, result) in made(study, tmp_path).items():
        kept, total = counts(mask)
        assert (result["kept"], result["total"]) == (kept, total)
        assert result["sparsity"] == 1 - kept / total
        # At most the level's number, and no channel of the last stage (64 of 3 x 3) fewer.
        assert round(total * 0.8**level) - 3 * 16 * 9 < kept <= round(total * 0.8**level)
        read = mask["layer2.0.conv2.weight"].any(0).flatten(1).any(1)
        assert not (read & ~mask["layer2.0.conv1.weight"].flatten(1).any(1)).any()


def test_a_level_beyond_what_can_go_is_refused_before_anything_starts(tmp_path):
    pytest.importorskip("torch_pruning", reason="needs the extra [channels]")
    timm = pytest.importorskip("timm", reason="needs the extra [timm]")
    assert timm
    plan = {"method": "one_shot", "levels": [2, 8], "structure": "channel"}
    own = {"arch": "timm:vit_tiny_patch16_224", "options": {"img_size": 8, "patch_size": 4}}
    study = with_plans(omp=plan)
    source = study.source.model_copy(update={"model": type(study.source.model)(**own)})
    with pytest.raises(InputError, match=r"^pruning\.omp: level 8"):
        check(study.model_copy(update={"source": source}))


def test_what_is_cut_is_recorded(tmp_path):
    tickets = made(with_plans(omp={"method": "one_shot", "levels": [1, 30]}), tmp_path)
    _, whole = tickets["omp", 1]
    mask, cut = tickets["omp", 30]
    assert "emptied" not in whole and "cut" not in whole
    assert cut["emptied"] == [name for name, kept in mask.items() if not kept.any()]
    assert cut["cut"] is True


def test_the_pages_own_criterion_works_as_printed(mine, tmp_path):
    plans = yaml.safe_load(blocks("pruning.md", "yaml")[-1])["pruning"]
    study = resolve(with_plans(**plans), tmp_path)
    check(study)
    assert study.pruning["taylor"].sha256 is not None
    for (_, level), (mask, _) in made(study, tmp_path / "results").items():
        kept, total = counts(mask)
        assert kept == round(total * 0.8**level)


def test_every_pruning_of_the_page_is_one():
    plans = [yaml.safe_load(block)["pruning"] for block in blocks("pruning.md", "yaml")]
    named = [PruningPlan.model_validate(plan) for block in plans for plan in block.values()]
    assert {"late", "learning_rate"} <= {plan.rewind for plan in named}


def test_another_source_is_another_ticket_and_a_stale_one_is_refused(mine, tmp_path):
    from search_spaces import grid

    plan = {"method": "mine:taylor", "levels": [2]}
    before = resolve(with_plans(own=plan), tmp_path)
    mine.write_text(mine.read_text() + "# changed\n")
    after = resolve(with_plans(own=plan), tmp_path)
    assert grid.tickets(before)[0].key != grid.tickets(after)[0].key
    with pytest.raises(InputError, match=r"mine:taylor.*has changed"):
        made(before, tmp_path / "results")
    stated = {**plan, "sha256": before.pruning["own"].sha256}
    with pytest.raises(InputError, match=r"^pruning\.own: its source"):
        resolve(with_plans(own=stated), tmp_path)


@pytest.mark.parametrize("code", ["return {}", "return None", "return {'conv1.weight': 1}"])
def test_what_are_no_scores_is_refused(mine, tmp_path, code):
    mine.write_text(f"def taylor(network, data, rng):\n    {code}\n")
    study = resolve(with_plans(own={"method": "mine:taylor", "levels": [2]}), tmp_path)
    with pytest.raises(InputError, match=r"mine:taylor: gives no scores .* conv1\.weight"):
        made(study, tmp_path / "results")


def test_the_images_shown_are_balanced_and_of_the_training_split():
    from search_spaces import grid

    study = with_plans(own={"method": "snip", "levels": [2], "images": 20})
    theta, pruning = grid.thetas(study)[0].theta, study.pruning["own"].pruning
    ((x, y),) = shown(theta, pruning, torch.device("cpu"))
    assert x.shape == (20, 1, 8, 8) and x.min() >= 0 and x.max() <= 1
    assert y.bincount(minlength=10).tolist() == [2] * 10
    again = shown(theta, pruning.model_copy(update={"seed": 1}), torch.device("cpu"))
    assert not torch.equal(again[0][0], x)
