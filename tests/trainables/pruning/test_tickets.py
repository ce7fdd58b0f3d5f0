"""Finding tickets: the order prune, rewind, re-train; resuming; the other methods."""

import torch

from search_spaces.regimes import Recipe, Regime
from search_spaces.spec import Pruning
from trainables.pruning import masks, tickets

IMP = Pruning(method="imp", retraining=Regime(recipe=Recipe(epochs=1, lr=0.1)))
THETA = {"a": torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), "b": torch.tensor([7.0])}
DENSE = {"a": torch.ones(5, dtype=torch.bool)}


def reversing(calls):
    """Re-training that makes large weights small and small ones large."""

    def retrain(weights, mask, level):
        calls.append((level, weights["a"].tolist(), mask["a"].tolist()))
        return {"a": torch.where(weights["a"] != 0, 10 - weights["a"], 0.0)}

    return retrain


def test_prunes_theta_first_then_by_retrained_magnitudes():
    calls = []
    found = list(tickets.imp(THETA, DENSE, IMP, 3, reversing(calls)))
    assert [level for level, _ in found] == [1, 2, 3]
    # Round 1 drops theta's smallest (1); later rounds theta's largest, the re-trained smallest.
    assert [m["a"].int().tolist() for _, m in found] == [
        [1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],
    ]
    # Every re-training starts from theta under the mask; the last round needs none.
    assert calls == [
        (1, [5.0, 4.0, 3.0, 2.0, 0.0], [True, True, True, True, False]),
        (2, [0.0, 4.0, 3.0, 2.0, 0.0], [False, True, True, True, False]),
    ]


def test_resuming_from_a_ticket_gives_the_same_rounds():
    whole = list(tickets.imp(THETA, DENSE, IMP, 6, reversing([])))
    calls = []
    resumed = list(tickets.imp(THETA, DENSE, IMP, 6, reversing(calls), resumed=whole[2]))
    assert [level for level, _ in resumed] == [4, 5, 6]
    assert all(
        torch.equal(a["a"], b["a"]) for (_, a), (_, b) in zip(whole[3:], resumed, strict=True)
    )
    assert [level for level, *_ in calls] == [3, 4, 5]


def test_every_method_keeps_the_same_number_at_a_level():
    theta = {"a": torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))}
    dense = {"a": torch.ones_like(theta["a"], dtype=torch.bool)}
    for level in (1, 5, 9):
        *_, (_, imp) = tickets.imp(theta, dense, IMP, level, lambda weights, mask, level: weights)
        one_shot = tickets.one_shot(theta, dense, Pruning(method="one_shot"), level)
        random = tickets.at_random(dense, Pruning(method="random"), level)
        expected = round(108 * 0.8**level)
        assert [masks.counts(m)[0] for m in (imp, one_shot, random)] == [expected] * 3
        # Without re-training, rounds of pruning are one pruning.
        assert torch.equal(imp["a"], one_shot["a"])


def test_random_tickets_depend_on_seed_and_level_only():
    dense = {"a": torch.ones(500, dtype=torch.bool)}
    first = tickets.at_random(dense, Pruning(method="random"), 3)["a"]
    assert torch.equal(first, tickets.at_random(dense, Pruning(method="random"), 3)["a"])
    other = tickets.at_random(dense, Pruning(method="random", seed=1), 3)["a"]
    assert not torch.equal(first, other)
