"""The figures, tables and claims of Chen et al. (ICML 2022), as data.

Numbers of Figures 3 and 4 on CIFAR-10 and CIFAR-100 from IMP are in its abstract; the others are as
this project's studies have quoted them from the paper's text and tables.
"""

from dataclasses import dataclass

from analysis.reproduction.answers import IMP, THETAS, Question
from analysis.reproduction.claims import Apart, Leads, Overlap, SparserThetas
from analysis.reproduction.numbers import Drawn, Extreme, Panels, TransferAttack

PAPER = ("paper", "paper-as-code")
SMALLER = ("paper", "cifar", "claims-large", "claims")
TASKS = ("cifar10", "cifar100", "svhn")
PRUNERS = ("imp-adversarial", "one-shot", "random")


@dataclass(frozen=True)
class Item:
    """A figure, table or claim. stated: the paper's number, a share in [0, 1], or what it says;
    question: what is asked of a study; studies: the shipped ones that can answer, the paper's own
    setting first; note: what is to be known."""

    place: str
    what: str
    question: Question
    studies: tuple[str, ...] = PAPER
    stated: float | str | None = None
    note: str = ""


_EXTREME = {
    "cifar10": (0.8926, 0.8926, 0.9141),
    "cifar100": (0.7379, 0.7903, 0.8322),
    "svhn": (0.0, 0.7903, 0.9648),
}
"""Figure 3, by theta."""
_PRUNERS = {
    "cifar10": (0.9141, 0.8926, 0.20),
    "cifar100": (0.8322, 0.7903, 0.0),
}
"""Figure 4, from theta_AT, by pruner."""
_TRANSFER_ATTACK = {0: 0.471, 10: 0.560, 12: 0.601, 14: 0.509}
"""Table A2, by level."""

ITEMS: tuple[Item, ...] = (
    Item(
        "Figure 2",
        "loss surfaces",
        Drawn("figure fig2", "landscape", transferred=True),
        SMALLER,
    ),
    Item("Figure 3", "curves, IMP", Panels("figure fig3", TASKS)),
    *(
        Item("Figure 3", f"{dataset}, {theta}", Extreme(dataset, theta), stated=stated)
        for dataset, numbers in _EXTREME.items()
        for theta, stated in zip(THETAS, numbers, strict=True)
    ),
    Item(
        "Figure 4",
        "curves, pruners",
        Panels("figure fig4", TASKS, (IMP, *PRUNERS), ("adversarial",)),
    ),
    *(
        Item(
            "Figure 4",
            f"{dataset}, {pruning}",
            Extreme(dataset, "adversarial", pruning),
            stated=stated,
        )
        for dataset, numbers in _PRUNERS.items()
        for pruning, stated in zip(PRUNERS, numbers, strict=True)
    ),
    Item("Figure 5", "curves, 10 and 1 % of data", Panels("figure fig5", TASKS, few=True)),
    Item(
        "Figure 6",
        "loss along training, attacked",
        Drawn("figure fig6", "landscape", transferred=True),
        SMALLER,
    ),
    Item(
        "Figure 7",
        "kernels of masks",
        Drawn("figure fig7", "structure", transferred=False),
        SMALLER,
    ),
    Item(
        "Figure A8",
        "masks alike, kernels pruned",
        Drawn("figure a8", "similarity", transferred=False),
        SMALLER,
    ),
    Item(
        "Figure A9",
        "loss along training, clean",
        Drawn("figure a9", "landscape", transferred=True),
        SMALLER,
    ),
    Item(
        "Figure A10",
        "CUB-200",
        Panels("figure a10", ("cub200",)),
        ("paper-a10",),
    ),
    Item(
        "Figure A10",
        "VisDA-17",
        Panels("figure a10", ("visda17",)),
        ("paper-a10",),
    ),
    Item(
        "Figure A10",
        "VOC instance segmentation",
        Panels("figure a10", ("voc",)),
        ("paper-a10",),
    ),
    Item("Table 1", "winning tickets", Panels("table ticks --level K", TASKS)),
    *(
        Item(
            "Table A2",
            f"transfer attack, level {level}",
            TransferAttack("cifar10", "adversarial", level),
            stated=stated,
        )
        for level, stated in _TRANSFER_ATTACK.items()
    ),
    Item("claim", "robust thetas: sparser", SparserThetas(), SMALLER, "yes"),
    Item("claim", "IMP better than random", Apart(IMP, "random", sparser=True), SMALLER, "yes"),
    Item(
        "claim",
        "IMP's regime matters little",
        Apart(IMP, "imp-adversarial", sparser=False),
        SMALLER,
        "yes",
    ),
    Item(
        "claim",
        "10 % of data: FAT leads",
        Leads("fast_adversarial", 0.1, 4),
        SMALLER,
        "yes",
        note="at 59.04 %, a middle sparsity",
    ),
    Item(
        "claim",
        "masks at 73.79 %: unlike",
        Overlap(6, 0.2),
        SMALLER,
        "< 20 %",
    ),
)
