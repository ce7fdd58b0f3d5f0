"""The sparsity ladder against the paper's numbers."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.levels import density, kept, sparsity

# Chen et al. (ICML 2022), in %, for levels 1 to 19.
PAPER = [20.00, 36.00, 48.80, 59.04, 67.23, 73.79, 79.03, 83.22, 86.58, 89.26]
PAPER += [91.41, 93.13, 94.50, 95.60, 96.48, 97.19, 97.75, 98.20, 98.56]

totals = st.integers(1, 30_000_000)
levels = st.integers(0, 30)


def test_the_ladder_is_the_papers():
    assert [round(100 * sparsity(level), 2) for level in range(1, 20)] == PAPER


def test_level_0_is_dense():
    assert (sparsity(0), density(0), kept(1234, 0)) == (0.0, 1.0, 1234)


def test_other_rates():
    assert sparsity(2, rate=0.5) == 0.75
    assert kept(100, 2, rate=0.5) == 25


@pytest.mark.parametrize(
    ("total", "level", "expected"),
    [
        (1000, 1, 800),
        (1000, 3, 512),
        (7, 1, 6),  # 5.6
        (7, 2, 4),  # 4.48; rounding 6 * 0.8 = 4.8 again would give 5
        (3, 1, 2),  # 2.4
        (3, 10, 1),  # 0.32: one weight stays
    ],
)
def test_kept_by_hand(total, level, expected):
    assert kept(total, level) == expected


@given(totals, levels)
def test_kept_is_the_rounded_share(total, level):
    assert kept(total, level) == max(1, round(total * 0.8**level))


@given(totals, levels)
def test_kept_is_the_nearest_whole_number_to_the_exact_share(total, level):
    exact = total * Fraction(4, 5) ** level
    error = abs(kept(total, level) - max(exact, 1))
    assert error <= Fraction(1, 2) + Fraction(1, 10**6)


@given(totals, levels)
def test_each_round_keeps_fewer_but_at_least_one(total, level):
    assert 1 <= kept(total, level + 1) <= kept(total, level) <= total
    assert kept(total, level) <= kept(total + 1, level)
