"""How many weights each layer keeps, where layers are not compared with each other."""

from collections.abc import Mapping, Sequence
from math import prod

from search_spaces.prunings import Scope


def allotted(
    shapes: Mapping[str, Sequence[int]], there: Mapping[str, int], count: int, scope: Scope
) -> dict[str, int]:
    """`count` weights shared out over layers of these shapes (outputs, inputs, height, width):
    their sum is `count` exactly, and no layer keeps more than are `there`, what it cannot keep
    going to the others.

    layer: in proportion to a layer's weights; erk: to the sum of its shape, so that its density is
    (outputs + inputs + height + width) / (outputs inputs height width) times the same factor for
    all layers that are not full (Evci et al. 2020, Erdos-Renyi-Kernel). Raises ValueError where
    fewer than `count` are there.
    """
    shares = [prod(shape) if scope == "layer" else sum(shape) for shape in shapes.values()]
    kept = apportioned(shares, [there[name] for name in shapes], count)
    return dict(zip(shapes, kept, strict=True))


def apportioned(shares: Sequence[int], most: Sequence[int], count: int) -> list[int]:
    """Whole numbers in proportion to `shares`, none above its `most`, that sum to `count`.

    What is in proportion is rounded down, and what is left goes to the largest remainders, of
    equals to the first (Hamilton's method); in whole numbers throughout, so that the result is the
    same everywhere.
    """
    if count > sum(most):
        raise ValueError(f"there are {sum(most)} weights, fewer than the {count} to keep")
    full: set[int] = set()
    while True:
        left = count - sum(most[i] for i in full)
        open_ = [i for i in range(len(shares)) if i not in full]
        whole = sum(shares[i] for i in open_)
        over = {i for i in open_ if shares[i] * left > most[i] * whole}
        if not over:
            break
        full |= over
    parts = {i: divmod(shares[i] * left, whole) for i in open_}
    kept = [most[i] if i in full else parts[i][0] for i in range(len(shares))]
    by_remainder = sorted(open_, key=lambda i: -parts[i][1])
    for i in by_remainder[: count - sum(kept)]:
        kept[i] += 1
    return kept
