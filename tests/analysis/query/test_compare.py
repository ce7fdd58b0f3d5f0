"""What two studies set differently, and plans of studies whose data is not there."""

import sys

import pytest

from search_spaces.reading import studies
from search_spaces.reading.differences import differences
from tuner import cli

SMALL = """
name: small
source:
  dataset: {name: mnist-mini, size: 16}
  model: {arch: resnet8}
  pretrainings: {standard: {train: {recipe: &recipe {epochs: 1, lr: 0.1}}}}
pruning: {imp: {method: imp, rounds: 2, retraining: {recipe: *recipe}}}
downstream:
  - dataset: {name: digits, size: 16}
    levels: [0, 2]
    seeds: [0, 1]
    regimes: {standard: {recipe: *recipe}}
evaluation:
  attack: {kind: pgd, epsilon: 8/255, alpha: 0.1}
  validation: {kind: pgd, epsilon: 8/255, alpha: 0.1}
"""


@pytest.fixture
def study(tmp_path):
    """Reads the small study with overrides."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return lambda *overrides: studies.load(str(path), list(overrides))


def test_a_study_does_not_differ_from_itself_whatever_its_name(study):
    assert differences(study(), study()) == []
    assert differences(study(), study("name=other")) == []


@pytest.mark.parametrize(
    ("override", "row"),
    [
        ("source.dataset.size=32", ("source.dataset.size", "16", "32")),
        ("source.dataset.name=digits", ("source.dataset.name", "mnist-mini", "digits")),
        ("downstream.0.seeds=[0,1,2]", ("downstream.0.seeds", "[0, 1]", "[0, 1, 2]")),
        ("source.model.width=8", ("source.model.width", "-", "8")),
        (
            "evaluation.validation.alpha=0.5",
            ("evaluation.validation.alpha", "0.1", "0.5"),
        ),
    ],
)
def test_a_field_that_differs_has_its_path_and_both_values(study, override, row):
    assert differences(study(), study(override)) == [row]


def test_what_one_study_lacks_is_a_dash(study):
    wide = study("source.model.width=8")
    assert differences(wide, study()) == [("source.model.width", "8", "-")]


def test_differences_stand_in_the_first_studys_order(study):
    other = study("downstream.0.seeds=[5]", "source.dataset.size=32", "pruning.imp.rounds=3")
    assert [name for name, _, _ in differences(study(), other)] == [
        "source.dataset.size",
        "pruning.imp.rounds",
        "downstream.0.seeds",
    ]


def test_a_number_is_its_value_however_it_is_written(study):
    assert differences(study(), study(f"evaluation.attack.epsilon={8 / 255}")) == []


STANDARD = "downstream.0.regimes.standard.recipe"


@pytest.fixture(scope="module")
def papers():
    """Field -> values of `paper` and `paper-as-code`, where they differ."""
    rows = differences(studies.load("paper"), studies.load("paper-as-code"))
    return {name: (one, two) for name, one, two in rows}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (f"{STANDARD}.lr", ("0.1", "0.001")),
        (f"{STANDARD}.batch_size", ("128", "64")),
        (f"{STANDARD}.epochs", ("100", "150")),
        (f"{STANDARD}.schedule.milestones", ("[50, 75]", "[50, 100]")),
        ("pruning.imp-adversarial.retraining.attack.alpha", ("2/255", "0.0209150327")),
    ],
)
def test_the_papers_text_and_code_differ_as_their_heads_say(papers, field, values):
    assert papers[field] == values


def test_the_papers_text_and_code_are_otherwise_the_same(papers):
    tasks = {name.split(".")[0] for name in papers}
    assert tasks == {"pruning", "downstream"}
    assert [name for name in papers if name.startswith("pruning")] == [
        "pruning.imp-adversarial.retraining.attack.alpha"
    ]
    rest = [name.split(".", 2)[2] for name in papers if name.startswith("downstream")]
    assert all(name.startswith("regimes.standard.recipe.") for name in rest)


@pytest.fixture
def tuner(monkeypatch, capfd, tmp_path):
    """Runs `python -m tuner ARGUMENTS` in an empty folder; gives exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tuner", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capfd.readouterr()

    return run


def test_plan_against_prints_the_differences_without_any_data(tuner, papers, tmp_path):
    code, out, err = tuner("plan", "paper", "--against", "paper-as-code")
    assert (code, err) == (0, "")
    head, *rows, count = out.splitlines()
    assert head.split() == ["field", "paper", "paper-as-code"]
    assert count == f"{len(papers)} fields differ"
    printed = {row.split()[0]: row.split(maxsplit=1)[1].split() for row in rows}
    assert printed.keys() == papers.keys()
    assert printed[f"{STANDARD}.lr"] == ["0.1", "0.001"]
    assert list(tmp_path.iterdir()) == []


def test_plan_against_itself_says_that_nothing_differs(tuner):
    code, out, _ = tuner("plan", "quickstart", "--against", "quickstart")
    assert (code, out.splitlines()[-1]) == (0, "0 fields differ")


def test_plan_against_an_unknown_study_is_refused(tuner):
    code, out, err = tuner("plan", "paper", "--against", "papper")
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and "papper" in err


@pytest.mark.parametrize("name", ["paper", "paper-as-code"])
def test_a_plan_without_its_data_counts_and_says_what_is_absent(
    tuner, tmp_path, tmp_path_factory, monkeypatch, name
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    code, out, err = tuner("plan", name, "--no-measure")
    assert (code, err) == (0, "")
    (note,) = [line for line in out.splitlines() if line.startswith("note: ")]
    assert str(tmp_path) in note
    lines = {" ".join(line.split()[:-3]): line.split()[-3:] for line in out.splitlines()}
    # 3 dense and 3 x 19 imp, and of theta_AT 3 x 19 by the other prunings; 3 seeds.
    assert lines["transfers cifar10 standard"] == ["351", "0", "351"]
    assert lines["transfers svhn adversarial"] == ["351", "0", "351"]
    assert lines["pre-training surrogate for cifar10"] == ["1", "0", "1"]
    assert lines["transfers 1 % of cifar100 adversarial"] == ["180", "0", "180"]
    assert lines["tickets adversarial imp-adversarial"] == ["19", "0", "19"]
    # 3 thetas and a surrogate; 19 tickets of imp for each theta, 2 x 19 of the others, 19 at random
    # for each of 3 seeds; 6 x 351 + 6 x 180 transfers
    *_, count, cost = out.splitlines()
    assert count.startswith(f"{name}: 0 of {4 + 8 * 19 + 6 * 351 + 6 * 180} ")
    assert cost.startswith("time: not known: ")
    assert list(tmp_path.iterdir()) == []
