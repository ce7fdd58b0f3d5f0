"""Which of a study's prunings its figures are about, and how the paper writes its thetas."""

from search_spaces.study import Study

_THETAS = {"standard": "STD", "fast_adversarial": "FAT", "adversarial": "AT"}


def theta_label(name: str) -> str:
    """A pre-training as the paper writes it, in TeX: theta with STD, FAT, AT or its own name
    below."""
    below = _THETAS.get(name, name).replace("_", r"\_").replace(" ", r"\ ")
    return rf"$\theta_{{\mathrm{{{below}}}}}$"


def main_pruning(study: Study) -> str | None:
    """The pruning whose tickets are followed over thetas, tasks and fractions: the first iterative
    one, or else the first that is not random."""
    plans = study.pruning.items()
    iterative = [name for name, plan in plans if plan.method == "imp"]
    others = [name for name, plan in plans if plan.method != "random"]
    return next(iter([*iterative, *others]), None)


def random_prunings(study: Study) -> list[str]:
    """The prunings that draw masks at random."""
    return [name for name, plan in study.pruning.items() if plan.method == "random"]
