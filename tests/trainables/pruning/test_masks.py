"""Masks: exact counts, ties, layers left alone, rewinding bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.levels import kept
from trainables.models.anatomy import prunable
from trainables.pruning import masks
from trainables.runtime.seeding import generator


def dense(weights):
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def uneven(seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = {"a": (7, 3, 3, 3), "b": (11, 7, 1, 1), "c": (5, 11, 3, 1)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def test_only_convolutions_are_pruned(net):
    names = prunable(net)
    assert names == [n for n, p in net.named_parameters() if p.ndim == 4]
    assert not any(n.startswith(("fc", "bn")) for n in names)


def test_counts_are_exact_through_nineteen_rounds():
    weights = uneven()
    mask = dense(weights)
    total = masks.counts(mask)[1]
    for level in range(1, 20):
        before = mask
        mask = masks.prune_by_magnitude(weights, mask, kept(total, level))
        assert masks.counts(mask) == (max(1, round(total * 0.8**level)), total)
        assert not any((mask[n] & ~before[n]).any() for n in mask)


def test_the_largest_weights_over_all_layers_stay():
    weights = {"a": torch.tensor([[3.0, -1.0]]), "b": torch.tensor([-2.0, 0.5, 4.0])}
    mask = masks.prune_by_magnitude(weights, dense(weights), 3)
    assert mask["a"].tolist() == [[True, False]]
    assert mask["b"].tolist() == [True, False, True]


def test_rounds_agree_with_torchs_own_global_pruning():
    from torch import nn
    from torch.nn.utils import prune

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 7, 3, bias=False), nn.Conv2d(7, 5, 3, bias=False)]
    weights = {str(i): layer.weight.detach().clone() for i, layer in enumerate(layers)}
    total = sum(w.numel() for w in weights.values())
    prune.global_unstructured(
        [(layer, "weight") for layer in layers],
        pruning_method=prune.L1Unstructured,
        amount=total - kept(total, 3),
    )
    ours = masks.prune_by_magnitude(weights, dense(weights), kept(total, 3))
    assert all(
        torch.equal(ours[str(i)], layer.weight_mask.bool()) for i, layer in enumerate(layers)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.0]), min_size=1, max_size=40), st.data())
def test_ties_do_not_change_the_count(values, data):
    weights = {"a": torch.tensor(values)}
    keep = data.draw(st.integers(0, len(values)))
    mask = masks.prune_by_magnitude(weights, dense(weights), keep)["a"]
    assert int(mask.sum()) == keep
    size = weights["a"].abs()
    if 0 < keep < len(values):
        assert size[mask].min() >= size[~mask].max()


def test_pruned_weights_stay_pruned_even_if_they_grew():
    weights = {"a": torch.tensor([9.0, 1.0, 2.0, 3.0])}
    mask = {"a": torch.tensor([False, True, True, True])}
    assert masks.prune_by_magnitude(weights, mask, 2)["a"].tolist() == [False, False, True, True]


def test_bad_input_is_refused():
    weights = {"a": torch.tensor([1.0, float("nan")])}
    with pytest.raises(ValueError, match="NaN"):
        masks.prune_by_magnitude(weights, dense(weights), 1)
    with pytest.raises(ValueError, match="fewer than the 3"):
        masks.prune_by_magnitude({"a": torch.ones(2)}, {"a": torch.tensor([True, False])}, 3)


def test_random_masks_are_exact_uniform_and_seeded():
    mask = {"a": torch.ones(1000, dtype=torch.bool), "b": torch.ones(3000, dtype=torch.bool)}
    drawn = masks.random(mask, 1000, generator(0, "x"))
    assert masks.counts(drawn) == (1000, 4000)
    assert 200 < int(drawn["a"].sum()) < 300
    same, other = (masks.random(mask, 1000, generator(seed, "x")) for seed in (0, 1))
    assert torch.equal(drawn["a"], same["a"])
    assert not torch.equal(drawn["a"], other["a"])
    assert masks.counts(mask) == (4000, 4000)


def test_rewinding_is_bit_for_bit(net):
    theta = {name: value.clone() for name, value in net.state_dict().items()}
    mask = masks.random(masks.ones(net), 100, generator(0, "x"))
    ticket = masks.rewind(theta, mask)
    assert ticket.keys() == theta.keys()
    for name, value in ticket.items():
        if name in mask:
            assert torch.equal(value[mask[name]], theta[name][mask[name]])
            assert not value[~mask[name]].any()
        else:
            assert torch.equal(value, theta[name])


def test_layer_sparsity():
    mask = {"a": torch.tensor([True, False, False, False]), "b": torch.tensor([True, True])}
    assert masks.layer_sparsity(mask) == {"a": 0.75, "b": 0.0}


def mixed(seed=0):
    """Scores of layers with 1, 8 and 12 inputs, and of a linear one."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 1, 3, 3), "b": (9, 8, 3, 3), "c": (5, 12, 1, 1), "d": (7, 8)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
@pytest.mark.parametrize("structure", ["unstructured", "2:4", "1:4"])
def test_counts_are_exact_for_every_scope_and_structure(scope, structure):
    scores = mixed()
    full = dense(scores)
    total, most = masks.counts(full)[1], {"unstructured": 1.0, "2:4": 0.5, "1:4": 0.25}[structure]
    for count in (0, 1, 17, 100, int(total * most) - 1, int(total * most)):
        mask = masks.keep(scores, full, count, scope, structure)
        assert masks.counts(mask) == (count, total)


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
def test_rounds_are_nested_and_exact_in_every_scope(scope):
    mask = dense(mixed())
    total = masks.counts(mask)[1]
    for level in range(1, 16):
        before, mask = mask, masks.keep(mixed(level), mask, kept(total, level), scope)
        assert masks.counts(mask)[0] == kept(total, level)
        assert not any((mask[n] & ~before[n]).any() for n in mask)


def test_each_layer_keeps_its_own_highest():
    scores = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[9.0, 8.0, 7.0, 6.0]])}
    mask = masks.keep(scores, dense(scores), 3, "layer")
    assert mask["a"].tolist() == [[False, True]]
    assert mask["b"].tolist() == [[True, True, False, False]]


def test_scores_may_be_negative():
    scores = {"a": torch.tensor([-3.0, -1.0, -2.0])}
    mask = {"a": torch.tensor([True, False, True])}
    assert masks.keep(scores, mask, 1)["a"].tolist() == [False, False, True]


@pytest.mark.parametrize("structure", ["2:4", "1:4"])
def test_of_every_m_inputs_n_are_kept(structure):
    n, m = map(int, structure.split(":"))
    scores = {name: s for name, s in mixed().items() if s.shape[1] % m == 0}
    full = dense(scores)
    count = masks.counts(full)[1] * n // m
    mask = masks.keep(scores, full, count, structure=structure)
    for name, kept_ in mask.items():
        groups = kept_.movedim(1, -1).reshape(-1, m)
        assert (groups.sum(1) == n).all()
        # The highest of each: none that is kept is below one that is not.
        values = scores[name].movedim(1, -1).reshape(-1, m)
        assert (
            values.masked_fill(~groups, 9).min(1).values
            > values.masked_fill(groups, -9).max(1).values
        ).all()


def test_two_of_four_is_what_torchs_own_sparsifier_keeps():
    from torch import nn
    from torch.ao.pruning import WeightNormSparsifier

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6, bias=False), nn.Linear(12, 5, bias=False))
    weights = {n: p.detach().clone() for n, p in net.named_parameters()}
    sparsifier = WeightNormSparsifier(
        sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2
    )
    sparsifier.prepare(net, [{"tensor_fqn": name} for name in weights])
    sparsifier.step()
    full = dense(weights)
    scores = masks.magnitudes(weights, full)
    ours = masks.keep(scores, full, masks.counts(full)[1] // 2, structure="2:4")
    for place, layer in enumerate(net):
        assert torch.equal(ours[f"{place}.weight"], layer.parametrizations.weight[0].mask.bool())


def test_a_layer_whose_inputs_the_pattern_does_not_divide_is_left():
    scores = {"a": torch.rand(6, 3, 3, 3), "b": torch.rand(4, 8, 1, 1)}
    full = dense(scores)
    mask = masks.keep(scores, full, 162 + 16, structure="2:4")
    assert mask["a"].all() and int(mask["b"].sum()) == 16
    with pytest.raises(ValueError, match="fewer than the 179"):
        masks.keep(scores, full, 162 + 17, structure="2:4")
