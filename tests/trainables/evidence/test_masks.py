"""What masks show, on masks small enough to count by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.evidence.masks import (
    chance_in_layers,
    chance_similarity,
    kernel_counts,
    similarity,
    structure,
)


def mask(*rows):
    """One layer of 1 x 1 kernels from rows of zeros and ones."""
    return {"conv1.weight": torch.tensor(rows, dtype=torch.bool)[..., None, None]}


@pytest.mark.parametrize(
    ("second", "both", "either"),
    [
        (mask([1, 1, 0], [0, 0, 0]), 2, 2),
        (mask([0, 0, 1], [1, 0, 0]), 0, 4),
        (mask([0, 1, 1], [0, 0, 0]), 1, 3),
        (mask([1, 1, 1], [1, 1, 1]), 2, 6),
    ],
    ids=["equal", "disjoint", "one of three", "part"],
)
def test_similarity_by_hand(second, both, either):
    first = mask([1, 1, 0], [0, 0, 0])
    expected = {"intersection": both, "union": either, "similarity": both / either}
    assert similarity(first, second) == similarity(second, first) == expected


def test_similarity_counts_over_all_layers():
    one = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    two = {"a": torch.tensor([True, False]), "b": torch.tensor([False, True])}
    assert similarity(one, two) == {"intersection": 1, "union": 4, "similarity": 0.25}


def test_two_empty_masks_are_alike():
    nothing = mask([0, 0])
    assert similarity(nothing, nothing)["similarity"] == 1.0


def test_masks_of_different_networks_are_not_compared():
    with pytest.raises(ValueError, match="different networks"):
        similarity(mask([1, 0]), {"conv2.weight": mask([1, 0])["conv1.weight"]})


def test_chance_is_what_random_masks_have():
    assert chance_similarity(0.25, 0.25) == pytest.approx(0.25 / 1.75)
    assert chance_similarity(1.0, 0.3) == pytest.approx(0.3)
    rng = torch.Generator().manual_seed(0)
    first, second = (torch.rand(200_000, generator=rng) < d for d in (0.3, 0.1))
    seen = similarity({"w": first}, {"w": second})["similarity"]
    assert seen == pytest.approx(chance_similarity(0.3, 0.1), abs=0.004)


def test_chance_in_layers_by_hand():
    """Two of four kept in one layer, none of the other four: 2 x 2 / 4 in common, of 2 + 2 - 1."""
    some, none = torch.tensor([True, True, False, False]), torch.zeros(4, dtype=torch.bool)
    uneven = {"a": some, "b": none}
    assert chance_in_layers(uneven, uneven) == pytest.approx(1 / 3)
    assert chance_similarity(0.25, 0.25) == pytest.approx(1 / 7)
    one = {"a": some}
    assert chance_in_layers(one, one) == pytest.approx(chance_similarity(0.5, 0.5))


def layered():
    """Two filters of two 3 x 3 kernels, and one of three 1 x 1 kernels."""
    spatial = torch.zeros(2, 2, 3, 3, dtype=torch.bool)
    spatial[0, 0, 1, 1] = True
    spatial[0, 1] = True
    single = torch.tensor([True, False, False]).view(1, 3, 1, 1)
    return {"layer1.0.conv1.weight": spatial, "layer2.0.downsample.0.weight": single}


def test_kernels_by_hand():
    assert kernel_counts(layered()["layer1.0.conv1.weight"]).tolist() == [[1, 9], [0, 0]]


def test_structure_by_hand():
    found = structure(layered())
    first, second = found.pop("layers")
    assert found == {
        "kept": 11,
        "total": 39,
        "sparsity": 1 - 11 / 39,
        "kernels": 4,
        "kernels_pruned": 2,
        "filters": 3,
        "filters_pruned": 1,
    }
    assert first == {
        "name": "layer1.0.conv1.weight",
        "stage": "layer1",
        "shape": [2, 2, 3, 3],
        "kept": 10,
        "total": 36,
        "sparsity": 1 - 10 / 36,
        "kernels": 4,
        "kernels_pruned": 2,
        "filters": 2,
        "filters_pruned": 1,
    }
    assert (second["stage"], second["kernels"], second["kernels_pruned"]) == ("layer2", 3, 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_counts_add_up(seed, density):
    rng = torch.Generator().manual_seed(seed)
    random = {"w": torch.rand(5, 4, 3, 3, generator=rng) < density}
    found = structure(random)
    kernels = kernel_counts(random["w"])
    assert int(kernels.sum()) == found["kept"]
    assert found["kernels_pruned"] >= 4 * found["filters_pruned"]
    assert found["kernels"] == 20
