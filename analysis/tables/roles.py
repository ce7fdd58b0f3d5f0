"""What the paper calls a study's prunings, and which of them its figures are about."""

from search_spaces.study import PruningPlan, Study

RANDOM = "RP"


def pruners(study: Study) -> dict[str, str]:
    """Pruning name -> the paper's name: IMP-ST, IMP-FAT, IMP-AT (iterative, by how it re-trains),
    OMP (one-shot), RP (random); with the study's own name behind it where two would be the same."""
    labels = {name: _pruner(plan) for name, plan in study.pruning.items()}
    several = list(labels.values())
    return {
        name: label if several.count(label) == 1 else f"{label} {name}"
        for name, label in labels.items()
    }


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


def _pruner(plan: PruningPlan) -> str:
    if plan.retraining is None:
        return RANDOM if plan.method == "random" else "OMP"
    attack = plan.retraining.attack
    if attack is None:
        return "IMP-ST"
    return "IMP-AT" if attack.kind == "pgd" else "IMP-FAT"
