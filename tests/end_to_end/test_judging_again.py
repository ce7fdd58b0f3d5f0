"""A finished study is judged by another attack from the weights that it has kept."""

import shutil

import pytest

from search_spaces import grid
from search_spaces.finished.weights import Weights
from tests.support.commands import call
from tests.support.studies import tiny
from trainables.store.ledger import Ledger

STEPS = 5


@pytest.fixture(scope="module")
def judged(ran, tmp_path_factory):
    """A copy of the study's folder, in which it was judged again."""
    folder = tmp_path_factory.mktemp("again")
    for name in ("tiny.yaml", "results"):
        copy = shutil.copytree if (ran.folder / name).is_dir() else shutil.copy
        copy(ran.folder / name, folder / name)
    ended = call("tuner", "evaluate", "tiny.yaml", "--steps", str(STEPS), cwd=folder)
    return folder, ended


def transfers(study, folder):
    """By what tells them apart, each transfer's result."""
    ledger = Ledger(folder / "results")
    return {tuple(c.labels.values()): ledger.result(c.transfer) for c in grid.transfers(study)}


def test_another_attack_judges_all_and_trains_nothing(ran, judged):
    folder, ended = judged
    assert ended.code == 0, ended.err
    change = f"evaluation.attack={{kind: pgd, epsilon: 0.1, alpha: 0.1, steps: {STEPS}}}"
    study = ran.study.model_copy(
        update={
            "evaluation": ran.study.evaluation.model_copy(
                update={"attack": tiny(change).evaluation.attack}
            )
        }
    )
    before, after = transfers(ran.study, ran.folder), transfers(study, folder)
    for labels, was in before.items():
        now = after[labels]
        # The training is the one that was: its times, epochs and scores.
        assert [now[name] for name in ("started", "ended", "epochs", "val", "best_epoch")] == [
            was[name] for name in ("started", "ended", "epochs", "val", "best_epoch")
        ]
        assert now["test"]["sa"] == was["test"]["sa"] >= now["test"]["ra"]
        assert now["judged"]["started"] > was["ended"]
    assert Ledger(folder / "results").keys(Weights) == ran.ledger.keys(Weights)


def test_what_has_kept_no_weights_is_not_trained_unasked(judged):
    folder, _ = judged
    shutil.rmtree(folder / "results" / "weights")
    ended = call("tuner", "evaluate", "tiny.yaml", "--steps", "9", cwd=folder)
    assert ended.code == 2 and "tuner run" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
