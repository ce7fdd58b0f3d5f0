"""Commands as somebody sees them who sits before a terminal."""

import pytest

from search_spaces.reading import studies
from tests.support import terminal
from tests.support.studies import tiny, write

# What Ray, Tune and MLflow would like to say.
STRANGERS = ("Configuration for experiment", "View detailed results", "Trial ", "INFO", "WARNING")


@pytest.mark.long
@pytest.mark.parametrize("columns", [80, 120])
def test_a_run_shows_its_stages_and_epochs_and_nothing_else(tmp_path, columns):
    slow = ("source.pretrainings.standard.train.recipe.epochs=8",)
    write(tiny(*slow, "downstream.0.regimes.standard.recipe.epochs=8"), tmp_path)
    shown = terminal.run("-m", "tuner", "run", "tiny.yaml", cwd=tmp_path, columns=columns)
    assert shown.code == 0, shown.text
    assert not [word for word in STRANGERS if word in shown.text]
    assert any("theta standard: epoch" in line for line in shown.drawn)
    assert any("seed 0 " in line and ": epoch" in line for line in shown.drawn)
    assert any("transfers" in line and "left" in line for line in shown.drawn)


@pytest.mark.long
def test_init_asks_until_it_has_an_answer_that_it_can_take(tmp_path):
    answers = ["mnist-mni", "mnist-mini", "nothing.npz", "digits", "resnet9", "", "soon", "0", "1"]
    typed = "".join(f"{answer}\n" for answer in answers)
    shown = terminal.run("-m", "tuner", "init", "mine.yaml", cwd=tmp_path, columns=80, typed=typed)
    assert shown.code == 0, shown.text
    assert shown.text.count("Error: ") == 5, shown.text
    study = studies.load(str(tmp_path / "mine.yaml"))
    found = study.source.dataset.name, study.downstream[0].dataset.name, study.source.model.arch
    assert found == ("mnist-mini", "digits", "resnet8")
