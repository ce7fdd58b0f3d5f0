"""Weather. Images are (N, C, S, S) float64 in [0, 1]; what is returned may leave that range."""

import torch
from torch import Tensor

from trainables.corruptions.levels import levels, scale
from trainables.corruptions.noise import uniform
from trainables.corruptions.sampling import dragged, zoomed

_GREY = (0.299, 0.587, 0.114)

# Photographs of frost as the script draws them, scaled to a fifth: of crops of 32 pixels the mean
# of each colour, the standard deviation of that mean over crops and of pixels in a crop (grey
# levels), and a, b of their power spectrum, k^-a + b at k periods in a crop. Measured on 600 crops
# each; the second and the third are one picture.
_FROST = (
    ((78, 149, 166), (17, 9, 8), (22, 13, 13), 1.8, 0.03),
    ((201, 205, 214), (8, 9, 9), (18, 18, 19), 1.4, 0.04),
    ((201, 205, 214), (8, 9, 9), (18, 18, 19), 1.4, 0.04),
    ((138, 153, 166), (10, 10, 11), (26, 26, 27), 1.4, 0.15),
    ((112, 123, 135), (16, 16, 15), (35, 35, 34), 1.0, 0.03),
)


def snow(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    mean, std, factor, least, radius, sigma, keep = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    shape = (len(x), 1, *x.shape[2:])
    flakes = zoomed(mean + std * torch.randn(shape, generator=rng, dtype=x.dtype), factor)
    flakes = levels(torch.where(flakes < least, 0, flakes))
    angles = uniform(-135, -45, (len(x),), rng)
    flakes = dragged(flakes, radius * scale(x), sigma * scale(x), angles) / 255
    white = torch.maximum(x, 1.5 * grey(x) + 0.5)
    return keep * x + (1 - keep) * white + flakes + flakes.rot90(2, (2, 3))


def grey(x: Tensor) -> Tensor:
    """(N, 1, S, S): brightness of colours as in television, of grey images their own."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(_GREY).view(1, -1, 1, 1)).sum(1, keepdim=True)


def frost(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    keep, share = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    return keep * x + share * ice(len(x), x.shape[-1], rng)[:, : x.shape[1]]


def ice(count: int, size: int, rng: torch.Generator) -> Tensor:
    """(count, 3, size, size) pixels: random textures with the colours, contrasts and spectra of
    crops of photographs of frost, each of one of them."""
    picture = torch.randint(len(_FROST), (count,), generator=rng)
    about = [torch.tensor(part, dtype=torch.float64)[picture] for part in zip(*_FROST, strict=True)]
    mean, between, within, falls, floor = about
    rows, columns = torch.fft.fftfreq(size).double(), torch.fft.rfftfreq(size).double()
    periods = size * torch.hypot(rows[:, None], columns)
    weight = (periods ** -falls[:, None, None] + floor[:, None, None]).sqrt()
    # The mean of a crop is drawn by itself.
    weight[:, 0, 0] = 0
    noise = torch.randn(count, size, size, generator=rng, dtype=torch.float64)
    texture = torch.fft.irfft2(torch.fft.rfft2(noise) * weight, s=(size, size))
    texture /= texture.flatten(1).std(1)[:, None, None]
    level = mean + between * torch.randn(count, 1, generator=rng, dtype=torch.float64)
    return ((level[..., None, None] + within[..., None, None] * texture[:, None]) / 255).clamp(0, 1)


def fog(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    thickness, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    size, brightest = x.shape[-1], x.amax((1, 2, 3), keepdim=True)
    x = x + thickness * plasma(len(x), size, decay, rng)[:, None]
    return x * brightest / (brightest + thickness)


def plasma(count: int, size: int, decay: float, rng: torch.Generator) -> Tensor:
    """(count, size, size) heights in [0, 1] by the diamond-square algorithm, on a torus whose side
    is the next power of two; each step's disturbances are `decay` times smaller."""
    side = 1 << (size - 1).bit_length()
    field = torch.zeros(count, side, side, dtype=torch.float64)
    step, disturbance = side, 100.0

    def middle(total: Tensor) -> Tensor:
        # The script multiplies by the disturbance twice.
        return total / 4 + disturbance * uniform(-disturbance, disturbance, total.shape, rng)

    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        along = corners + corners.roll(-1, 1)
        field[:, half::step, half::step] = middle(along + along.roll(-1, 2))
        centres = field[:, half::step, half::step]
        below, beside = centres + centres.roll(1, 1), corners + corners.roll(-1, 2)
        field[:, ::step, half::step] = middle(below + beside)
        below, beside = centres + centres.roll(1, 2), corners + corners.roll(-1, 1)
        field[:, half::step, ::step] = middle(below + beside)
        step, disturbance = half, disturbance / decay
    field -= field.amin((1, 2), keepdim=True)
    return (field / field.amax((1, 2), keepdim=True))[:, :size, :size]


def brightness(x: Tensor, severity: int, rng: torch.Generator) -> Tensor:
    """The largest channel (HSV's value) is raised, hue and saturation stay; black becomes grey."""
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = x.amax(1, keepdim=True)
    raised = (value + more).clamp(0, 1)
    return torch.where(value > 0, x / value.clamp(min=1e-9) * raised, raised)
