"""What the parent run says of a verdict in numbers."""

import pandas as pd

from tests.support import made_up
from tuner.tracking import headline


def test_numbers_of_a_verdict_are_named_by_what_they_are_of():
    task = {"theta": "standard", "pruning": "imp", "dataset": "digits", "fraction": 0.1}
    dense = {f"{name}_dense_mean": 0.5 for name in ("SA_standard", "SA_adversarial")}
    verdict = pd.DataFrame([{**task, **dense, "RA_adversarial_dense_mean": None, "sparsity": 0.36}])
    level = {"level": pd.NA, "sparsity": None, "low_sparsity": 0.2, "high_sparsity": 0.488}
    shown = pd.DataFrame([{**task, **level}]).astype({"level": "Int64"})
    assert headline.metrics(verdict, shown) == {
        "SA_standard_dense/standard/digits-10-percent": 0.5,
        "SA_adversarial_dense/standard/digits-10-percent": 0.5,
        "paper_sparsity/standard/imp/digits-10-percent": 0.36,
        "interval_low/standard/imp/digits-10-percent": 0.2,
        "interval_high/standard/imp/digits-10-percent": 0.488,
    }


def test_settings_go_by_their_paths_but_for_where_files_lie():
    study = made_up.study()
    (task,) = study.downstream
    moved = task.dataset.model_copy(update={"path": "/somewhere"})
    study = study.model_copy(update={"downstream": (task.model_copy(update={"dataset": moved}),)})
    found = headline.params(study)
    assert found["source.model.arch"] == "resnet8" and found["downstream.0.seeds"] == "[0, 1]"
    assert "downstream.0.dataset.path" not in found
