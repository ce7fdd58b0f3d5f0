"""Studies of instance segmentation: what they may ask for, and what is refused with its place."""

from copy import deepcopy

import pytest

from search_spaces import grid
from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.spec import Dataset

PGD = {"kind": "pgd", "steps": 2, "epsilon": 0.1, "alpha": 0.05}
STUDY = {
    "name": "segmented",
    "source": {
        "dataset": {"name": "cifar10", "size": 32},
        "model": {"arch": "resnet8"},
        "pretrainings": {"standard": {"train": {"recipe": {"epochs": 1, "lr": 0.1}}}},
    },
    "downstream": [
        {
            "dataset": {"name": "voc", "size": 64, "path": "VOC2012"},
            "levels": [0],
            "seeds": [0],
            "regimes": {
                "standard": {"recipe": {"epochs": 1, "lr": 0.1}},
                "adversarial": {"recipe": {"epochs": 1, "lr": 0.1}, "attack": PGD},
            },
        }
    ],
    "evaluation": {"attack": PGD},
}
FGSM = {"kind": "fgsm", "epsilon": 0.1, "alpha": 0.1}


def changed(place, value):
    study = deepcopy(STUDY)
    at = study
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    return study


def test_the_task_follows_from_the_data():
    cells = grid.transfers(studies.validate(STUDY, "segmented"))
    assert {cell.transfer.dataset.kind for cell in cells} == {"instances"}
    assert {cell.regime for cell in cells} == {"standard", "adversarial"}
    assert Dataset(name="cifar10", size=32).kind == "labels"


TASK = ("downstream", 0)
STANDARD = (*TASK, "regimes", "standard")
ADVERSARIAL = (*TASK, "regimes", "adversarial")
FAST = {"recipe": {"epochs": 1, "lr": 0.1}, "attack": FGSM}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("source", "dataset"), STUDY["downstream"][0]["dataset"], "source.dataset"),
        (("source", "model", "arch"), "wrn-10-1", "source.model.arch"),
        ((*TASK, "dataset", "augment"), {"flip": True}, "augment"),
        ((*TASK, "dataset", "view"), "crop", "view"),
        ((*TASK, "dataset", "path"), None, "path"),
        ((*TASK, "checks"), [{"check": {"kind": "autoattack", "epsilon": 0.1}}], "checks"),
        (("evaluation", "protocol"), "worst_iterate", "protocol"),
        ((*ADVERSARIAL, "loss"), "trades", "regimes.adversarial.loss"),
        ((*TASK, "regimes", "fast_adversarial"), FAST, "regimes.fast_adversarial"),
        ((*STANDARD, "recipe", "averaging"), {"kind": "ema"}, "standard.recipe.averaging"),
    ],
)
def test_what_is_of_classification_is_refused(place, value, said):
    with pytest.raises(InputError, match=said):
        studies.validate(changed(place, value), "segmented")
