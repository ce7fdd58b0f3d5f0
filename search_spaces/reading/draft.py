"""A first study, written out with comments from what is known of its data: see `python -m tuner
init`. What is drafted is a place to start from, no recommendation of a recipe."""

import math
from dataclasses import dataclass
from string import Template

from search_spaces.networks import Arch
from search_spaces.spec import Dataset


@dataclass(frozen=True)
class Scale:
    """How much a study does. Epochs of a pre-training, of each round's re-training and of a
    transfer; levels and seeds of transfers; thetas: two or three; images: at most so many of each
    split of the source and of the downstream task (None: all)."""

    pretraining: int
    retraining: int
    transfer: int
    levels: tuple[int, ...]
    seeds: int
    thetas: int
    images: tuple[int | None, int | None]


SCALES = (
    Scale(60, 4, 40, (0, 3, 5, 7, 9, 11, 13), 5, 3, (None, None)),
    Scale(30, 2, 20, (0, 3, 6, 9, 12), 5, 3, (None, None)),
    Scale(20, 2, 15, (0, 3, 6, 9, 12), 3, 3, (None, None)),
    Scale(15, 1, 12, (0, 3, 6, 9, 12), 3, 3, (20_000, 5_000)),
    Scale(10, 1, 10, (0, 4, 8, 12), 3, 3, (10_000, 2_000)),
    Scale(8, 1, 8, (0, 4, 8, 12), 3, 2, (6_000, 2_000)),
    Scale(6, 1, 8, (0, 4, 8), 3, 2, (3_000, 1_000)),
    Scale(5, 1, 6, (0, 4, 8), 2, 2, (2_000, 500)),
    Scale(4, 1, 5, (0, 4), 2, 2, (1_000, 300)),
)
"""From what takes days to what takes a minute or two on a small machine."""


@dataclass(frozen=True)
class Facts:
    """What a task's data are: a dataset as a study writes it, colour channels, and how many images
    are trained on and tested on."""

    dataset: Dataset
    channels: int
    trained: int
    tested: int

    def limit(self, most: int | None) -> int | None:
        """What keeps each split to so many images; None where it has no more."""
        return most if most and max(self.trained, self.tested) > most else None


@dataclass(frozen=True)
class Draft:
    """What a first study is to be: its name, tasks, network and minutes."""

    name: str
    source: Facts
    downstream: Facts
    arch: Arch
    minutes: float

    def text(self, scale: Scale) -> str:
        """The study as a commented YAML file."""
        tested = self.downstream.tested
        tested = min(tested, self.downstream.limit(scale.images[1]) or tested)
        source, downstream = (
            _dataset(facts, most)
            for facts, most in zip((self.source, self.downstream), scale.images, strict=True)
        )
        return _STUDY.substitute(
            _attacks(self.source),
            name=self.name,
            title=self.downstream.dataset.title,
            minutes=f"{self.minutes:g}",
            source=source,
            downstream=downstream,
            limits=_LIMITS if "limit:" in source + downstream else "",
            arch=self.arch + (", width: 16" if self.arch == "resnet8" else ""),
            fast_adversarial=_FAST.substitute(_attacks(self.source)) if scale.thetas == 3 else "",
            pretraining=scale.pretraining,
            validated=max(1, scale.pretraining - 1),
            rounds=max(scale.levels),
            retraining=scale.retraining,
            levels=list(scale.levels),
            points=f"{100 * margin(tested):.0f}",
            margin=margin(tested),
            tested=tested,
            seeds=list(range(scale.seeds)),
            transfer=scale.transfer,
            judged=max(1, scale.transfer - 1),
            batch=64 if self.downstream.trained < 10_000 else 128,
        )


def epsilon(channels: int, size: int) -> tuple[str, str]:
    """(radius of the attacks in units of [0, 1] pixels, why)."""
    if channels == 1:
        return "0.15", "grey images with few shades, as digits: half of MNIST's usual 0.3"
    if size <= 64:
        return "8/255", "small colour images: as for CIFAR-10 and SVHN"
    return "4/255", "large colour images: as for ImageNet"


def margin(tested: int) -> float:
    """The loss, in whole points, that so many test images can tell from none: their 90 % error of
    the difference of two networks with half of the answers right that err alike half of the time,
    but two points at the least."""
    return max(2, math.ceil(100 * 1.645 * 0.5 / math.sqrt(tested))) / 100


def _attacks(source: Facts) -> dict[str, str]:
    """The attacks' radius, why it is so large, and their steps."""
    radius, why = epsilon(source.channels, source.dataset.size)
    above, _, below = radius.partition("/")
    value = float(above) / float(below or 1)
    steps = {"train_step": value * 2 / 3, "fast_step": value * 1.25, "test_step": value / 4}
    return {"epsilon": radius, "why": why, **{name: f"{v:.3g}" for name, v in steps.items()}}


def _dataset(facts: Facts, most: int | None) -> str:
    own, limit = facts.dataset, facts.limit(most)
    fields = [f"name: {own.name}"]
    if own.path is not None:
        quoted = own.path.replace("'", "''")
        fields += [f"path: '{quoted}'", f"label: {own.title}"]
    fields.append(f"size: {own.size}")
    fields += [f"limit: {limit}"] if limit else []
    flip = ", flip: true" if facts.channels == 3 else ""
    fields.append(f"augment: {{crop: {max(1, own.size // 8)}{flip}}}")
    return f"{{{', '.join(fields)}}}"


_LIMITS = """\
# `limit` takes so many images of each split, for a short first run: leave it out for all of them.
"""

_FAST = Template("""
    fast_adversarial:              # one attack step from a random start: FAT, nearly free
      train: {attack: {kind: fgsm, epsilon: $epsilon, alpha: $fast_step}, recipe: *source}""")

_STUDY = Template("""\
# python -m tuner run $name.yaml
# A first study of $title, drafted for about $minutes minutes on one machine.
# Every field: `python -m tuner schema --markdown`. For an editor that completes and checks it, run
# `python -m tuner schema > study.schema.json` and make the next comment the first line:
# yaml-language-server: $$schema=study.schema.json
${limits}name: $name

source:                            # the task that tickets are found on
  dataset: $source
  model: {arch: $arch}
  pretrainings:                    # the thetas that are compared
    standard:
      train:
        recipe: &source
          epochs: $pretraining
          lr: 0.1
          schedule: {kind: one_cycle}
          validate_from: $validated         # the best epoch is chosen from here on
    # epsilon is the radius of all attacks, in units of [0, 1] pixels.
    # $epsilon: $why.
    adversarial:
      train:
        attack: &attack {kind: pgd, steps: 3, epsilon: $epsilon, alpha: $train_step}
        recipe: *source$fast_adversarial

pruning:
  imp:                             # each round prunes a fifth: level k leaves 0.8^k of the weights
    method: imp
    rounds: $rounds
    retraining: {recipe: {epochs: $retraining, lr: 0.05, schedule: {kind: one_cycle}}}

downstream:                        # the task that tickets are transferred to
  - dataset: $downstream
    levels: $levels     # 0 is the dense network; `adaptive` searches for the level instead
    # A ticket is as good as the dense network if it is shown to lose less than $points points,
    # about as little as $tested test images can show. A smaller margin takes more of them.
    margin: $margin
    seeds: $seeds               # of each transfer; more seeds, surer verdicts
    regimes:
      standard:
        recipe: &transfer
          epochs: $transfer
          batch_size: $batch
          lr: 0.05
          schedule: {kind: one_cycle}
          validate_from: $judged
      adversarial: {attack: *attack, recipe: *transfer}

evaluation:                        # robust accuracy (RA) is accuracy under this attack
  attack: {kind: pgd, steps: 20, epsilon: $epsilon, alpha: $test_step}
  validation: {kind: pgd, steps: 10, epsilon: $epsilon, alpha: $test_step}
  protocol: worst_iterate          # an image that any step fools counts as fooled
""")
