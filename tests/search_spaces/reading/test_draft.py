"""A drafted study is one that can be read, whatever its data and its scale."""

from itertools import pairwise

import pytest

from search_spaces import grid
from search_spaces.reading import studies
from search_spaces.reading.draft import SCALES, Draft, Facts, epsilon, margin
from search_spaces.spec import Dataset

GREY = Facts(Dataset(name="mnist-mini", size=16), channels=1, trained=7500, tested=2000)
OWN = Dataset(name="npz", path="it's here/my data.npz", label="my-data", size=16)
FEW = Facts(OWN, channels=1, trained=400, tested=100)
COLOUR = Facts(Dataset(name="cifar10", size=32), channels=3, trained=45_000, tested=10_000)


def drafted(source, downstream, scale, minutes=5.0):
    draft = Draft("mine", source, downstream, "resnet8", minutes)
    return studies.validate(studies.parse(draft.text(scale), "mine"), "mine")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tasks", [(GREY, FEW), (COLOUR, COLOUR)], ids=["grey", "colour"])
def test_every_scale_is_a_study_with_a_verdict(tasks, scale):
    study = drafted(*tasks, scale)
    (task,) = study.downstream
    assert set(task.regimes) == {"standard", "adversarial"}
    assert len(study.source.pretrainings) == scale.thetas
    assert len(grid.transfers(study)) == 2 * scale.thetas * len(scale.levels) * scale.seeds
    attacks = [study.evaluation.attack, study.evaluation.validation]
    attacks += [task.regimes["adversarial"].attack]
    assert len({attack.epsilon for attack in attacks}) == 1


def test_the_user_s_own_file_is_named_as_it_is():
    (task,) = drafted(GREY, FEW, SCALES[0]).downstream
    assert (task.dataset.path, task.dataset.title) == ("it's here/my data.npz", "my-data")


def test_images_are_limited_only_where_there_are_more():
    assert drafted(GREY, FEW, SCALES[-1]).source.dataset.limit == SCALES[-1].images[0]
    assert drafted(GREY, GREY, SCALES[0]).source.dataset.limit is None
    assert FEW.limit(400) is None and FEW.limit(399) == 399


def test_scales_fall_from_one_to_the_next():
    sizes = [len(grid.transfers(drafted(COLOUR, COLOUR, scale))) for scale in SCALES]
    assert all(more >= less for more, less in pairwise(sizes)) and sizes[0] > sizes[-1]


def test_the_radius_goes_by_the_images():
    assert [epsilon(*images)[0] for images in ((1, 28), (3, 32), (3, 224))] == [
        "0.15",
        "8/255",
        "4/255",
    ]


def test_few_test_images_can_show_a_large_loss_alone():
    assert [margin(tested) for tested in (100, 500, 2000, 10_000)] == [0.09, 0.04, 0.02, 0.02]
