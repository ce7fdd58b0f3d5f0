"""Sharing out: exact sums, within what is there, in proportion; ERK by the paper's formula."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.pruning.allotment import allotted, apportioned

SHAPES = {"a": (16, 1, 3, 3), "b": (16, 16, 3, 3), "c": (32, 16, 1, 1), "d": (10, 64)}
WHOLE = {name: math.prod(shape) for name, shape in SHAPES.items()}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 60)), min_size=1, max_size=8), st.data()
)
def test_sums_are_exact_and_nothing_above_its_most(layers, data):
    shares, most = zip(*layers, strict=True)
    count = data.draw(st.integers(0, sum(most)))
    kept = apportioned(shares, most, count)
    assert sum(kept) == count
    assert all(0 <= k <= m for k, m in zip(kept, most, strict=True))
    # Those that are not full are in proportion, up to rounding: within one of the same factor.
    loose = [i for i in range(len(shares)) if kept[i] < most[i]]
    factors = [Fraction(kept[i] + side, shares[i]) for i in loose for side in (-1, 1)]
    if loose:
        assert max(factors[::2]) < min(factors[1::2])


def test_too_many_are_refused():
    with pytest.raises(ValueError, match="fewer than the 4"):
        apportioned([1, 1], [1, 2], 4)


@pytest.mark.parametrize("count", [1, 7, 100, 1000, 3599, 3600])
def test_layers_keep_the_same_share(count):
    kept = allotted(SHAPES, WHOLE, count, "layer")
    assert sum(kept.values()) == count
    for name, size in WHOLE.items():
        assert abs(kept[name] - count * size / sum(WHOLE.values())) < 1


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6])
def test_erk_is_the_papers_loop(density):
    """Evci et al. 2020, appendix: layers that would be more than full are full, and the others'
    densities are epsilon (n_in + n_out + w + h) / (n_in n_out w h)."""
    count = round(density * sum(WHOLE.values()))
    full = set()
    while True:
        raw = {n: sum(s) / math.prod(s) for n, s in SHAPES.items() if n not in full}
        rest = count - sum(WHOLE[n] for n in full)
        epsilon = rest / sum(raw[n] * WHOLE[n] for n in raw)
        over = {n for n in raw if epsilon * raw[n] > 1}
        if not over:
            break
        full |= over
    kept = allotted(SHAPES, WHOLE, count, "erk")
    assert sum(kept.values()) == count
    for name, size in WHOLE.items():
        expected = size if name in full else epsilon * raw[name] * size
        assert abs(kept[name] - expected) < 1
