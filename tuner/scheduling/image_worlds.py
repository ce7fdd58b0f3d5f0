"""Known curves seen through test images: which images a network gets right, by a probit model.

A transfer gets an image right when

    c + difficulty D(image) + level W(level, image) + seed U(seed) + rest V(level, seed) + e > 0

with standard normal D, W, U, V and e, drawn anew for each metric but for D, which all metrics
share: what is hard is hard for every network. Over images and seeds a network's accuracy is
Phi(c / total), so that c follows from the truth.

Each of several thetas has its own W, and adds

    theta T(theta) + ticket sqrt(level / levels) R(level, theta)

with T shared by all levels, the dense one included, and R that of a random walk over levels: what
one round's luck has done to a ticket, its successors keep.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, owens_t

from analysis.verdict.inference import Bools, Floats
from analysis.verdict.one_std import METRICS
from tuner.scheduling.adaptive import REGIMES, Cell, Result
from tuner.scheduling.worlds import Draw, World

BASE = (0.95, 0.80, 0.50)
"""The dense network's accuracy in each metric."""


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of the latent effects, in units of e's. The defaults give seeds 0.5 to 1
    points of accuracy, and any two networks of a study another answer on 2 to 15 % of images."""

    difficulty: float = 3.0
    level: float = 0.6
    seed: float = 0.03
    rest: float = 0.03
    theta: float = 0.0
    ticket: float = 0.0

    @property
    def of_images(self) -> float:
        """Variance over images, for one network's weights."""
        return 1 + self.difficulty**2 + self.level**2

    def total(self, levels: int) -> Floats:
        """(levels,): the standard deviation of all effects together at each level, dense first."""
        ticket = self.ticket**2 * np.arange(levels) / max(1, levels - 1)
        found: Floats = np.sqrt(
            self.of_images + self.seed**2 + self.rest**2 + self.theta**2 + ticket
        )
        return found


@dataclass(frozen=True)
class ImageWorld(World):
    """A world whose scores are shares of `images` test images; its noise is what the seeds add to
    the latent scale, (M, L, S), of several thetas one's seeds after the other's; by_image (M, L,
    thetas, N). Draws are the cell's own: a cell shows the same, whenever asked."""

    images: int
    scatter: Scatter
    number: tuple[int, ...]
    by_image: Floats

    def result(self, cell: Cell) -> Result:
        """What training a cell gives, with its per-image records."""
        rng = np.random.default_rng(
            (*self.number, cell.level, REGIMES.index(cell.regime), cell.seed)
        )
        theta = cell.seed * self.by_image.shape[2] // self.noise.shape[2]
        correct: dict[str, Bools] = {}
        for m, metric in enumerate(METRICS):
            if metric.regime == cell.regime:
                known = self.by_image[m, cell.level, theta] + self.noise[m, cell.level, cell.seed]
                correct[metric.score] = known + rng.standard_normal(self.images, np.float32) > 0
        return Result({score: float(right.mean()) for score, right in correct.items()}, correct)


def seen_through(
    curves: Callable[[np.random.Generator], Floats],
    images: int,
    seeds: int,
    scatter: Scatter | None = None,
    thetas: int = 1,
) -> Draw:
    """Worlds whose losses to dense, (M, L) shares with dense first, are drawn by `curves`; `seeds`
    of each of `thetas`."""
    model = scatter or Scatter()

    def draw(rng: np.random.Generator) -> World:
        truth = np.array(BASE)[:, None] - curves(rng)
        metrics, levels = truth.shape
        threshold = model.total(levels) * ndtri(truth)
        hard = model.difficulty * rng.standard_normal(images, np.float32)
        own = model.level * rng.standard_normal((metrics, levels, thetas, images), np.float32)
        noise = model.seed * rng.standard_normal((metrics, 1, thetas * seeds))
        noise = noise + model.rest * rng.standard_normal((metrics, levels, thetas * seeds))
        if thetas > 1:
            noise = noise + np.repeat(_luck(model, levels, thetas, rng), seeds, axis=2)
        noise = noise.astype(np.float32)
        number = tuple(int(part) for part in rng.integers(2**32, size=2))
        by_image = (threshold[..., None, None] + hard + own).astype(np.float32)
        return ImageWorld(truth, noise, _spread(model, images), images, model, number, by_image)

    return draw


def _luck(model: Scatter, levels: int, thetas: int, rng: np.random.Generator) -> Floats:
    """(M, levels, thetas): what thetas and their tickets add to the latent scale."""
    shape = len(METRICS), levels, thetas
    steps = rng.standard_normal(shape) * model.ticket / np.sqrt(max(1, levels - 1))
    steps[:, 0] = model.theta * rng.standard_normal((len(METRICS), thetas))
    found: Floats = steps.cumsum(1)
    return found


def _spread(model: Scatter, images: int) -> Floats:
    """(M,): the dense scores' standard deviation over seeds, on given images, on average.

    Seeds move the accuracy by its slope; and an image that a network gets right with probability q
    over e adds q (1 - q) / images: E[Phi(a + bX)^2] = Phi(z) - 2 T(z, 1 / sqrt(1 + 2 b^2)) with
    z = a / sqrt(1 + b^2) and Owen's T.
    """
    z = ndtri(np.array(BASE))
    b = np.sqrt(model.of_images - 1)
    slope = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi * model.of_images)
    flips = ndtr(z) - (ndtr(z) - 2 * owens_t(z, 1 / np.sqrt(1 + 2 * b**2)))
    variance: Floats = slope**2 * (model.seed**2 + model.rest**2) + flips / images
    return np.sqrt(variance)
