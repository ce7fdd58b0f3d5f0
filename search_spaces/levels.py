"""The sparsity ladder: level k is reached after k pruning rounds."""

import math


def density(level: int, rate: float = 0.2) -> float:
    """Share of prunable weights left at `level`, in (0, 1]: (1 - rate) ** level."""
    return (1.0 - rate) ** level


def sparsity(level: int, rate: float = 0.2) -> float:
    """Share of prunable weights removed at `level`, in [0, 1): 1 - (1 - rate) ** level.

    At rate 0.2, levels 1 to 19 are the ladder of Chen et al. (ICML 2022): 20.00 % to 98.56 %.
    """
    return 1.0 - density(level, rate)


def level_at(rate: float, level: int, other: float) -> int:
    """The smallest level at `rate` that is at least as sparse as `level` at the `other` rate."""
    # Equal sparsities may differ in their last bits: nine digits decide.
    return math.ceil(round(level * math.log1p(-other) / math.log1p(-rate), 9))


def kept(total: int, level: int, rate: float = 0.2) -> int:
    """Exact number of `total` weights that a ticket at `level` keeps.

    Rounded once, from the total, so that rounds never drift away from (1 - rate) ** level and
    every pruning method keeps the same number at the same level. At least one weight is kept.
    """
    return max(1, round(total * density(level, rate)))
