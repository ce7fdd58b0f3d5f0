"""Inputs like those that users bring: read as they are meant, or refused before anything starts."""

import pytest

from search_spaces.errors import InputError
from search_spaces.reading import studies
from search_spaces.spec import Checkpoint, Dataset, Model, Pretraining
from tests.support.shared_data import made_cases
from tuner.storage.inputs import check, resolve

# The file, and the word that names what is wrong; None where it is read.
CHECKPOINTS = {
    "compiled.pth": None,
    "compiled_in_ddp.pth": None,
    "net_holder.pth": None,
    "sparse.pth": None,
    "averaged.pth": None,
    "bn_nan.pth": "running_var.*not finite",
    "int8.pth": "int8.*quantised",
    "page.pth": "HTML page",
}


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    return made_cases(tmp_path_factory.mktemp("cases"))


def loading(path):
    """A study that starts from a checkpoint of ResNet-20 on 10 classes of colour images."""
    study = studies.load("quickstart")
    source = study.source.model_copy(
        update={
            "dataset": Dataset(name="cifar10", size=32),
            "model": Model(arch="resnet20"),
            "pretrainings": {
                "loaded": Pretraining(load=Checkpoint(format="state_dict", path=str(path)))
            },
        }
    )
    return study.model_copy(update={"source": source, "downstream": ()})


def checked(study, root, monkeypatch):
    """Remarks on a study; CIFAR-10 itself is not there."""
    monkeypatch.setattr("trainables.data.readers.require", lambda dataset: None)
    return check(resolve(study, root))


@pytest.mark.parametrize("name", list(CHECKPOINTS))
def test_checkpoints(name, cases, monkeypatch):
    study, wrong = loading(cases / "ck" / name), CHECKPOINTS[name]
    if wrong is None:
        assert checked(study, cases, monkeypatch) == []
    else:
        with pytest.raises(InputError, match=wrong) as caught:
            checked(study, cases, monkeypatch)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_checkpoint_that_is_made_is_tried(cases):
    assert {path.name for path in (cases / "ck").iterdir()} == set(CHECKPOINTS)
