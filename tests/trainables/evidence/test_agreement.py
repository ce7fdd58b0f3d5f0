"""Per-image records: agreement against scikit-learn, accuracy by class by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from search_spaces.finished.evidence import RecordEvidence
from trainables.evidence.agreement import agreement, per_class


def bits(*values):
    return torch.tensor(values, dtype=torch.bool)


def test_agreement_by_hand():
    found = agreement(bits(1, 1, 1, 0), bits(1, 1, 0, 0))
    # By chance: 3/4 x 2/4 both right, 1/4 x 2/4 both wrong.
    assert found == {"agreement": 0.75, "kappa": pytest.approx((0.75 - 0.5) / 0.5)}


def test_nothing_lies_beyond_certainty():
    assert agreement(bits(1, 1), bits(1, 1)) == {"agreement": 1.0, "kappa": None}


def test_opposites_have_negative_kappa():
    assert agreement(bits(1, 0), bits(0, 1)) == {"agreement": 0.0, "kappa": -1.0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_kappa_is_scikit_learns(pairs):
    first, second = (list(side) for side in zip(*pairs, strict=True))
    found = agreement(bits(*first), bits(*second))["kappa"]
    if found is None:
        assert len({*first, *second}) == 1
    else:
        assert found == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


@pytest.mark.parametrize("other", [bits(), bits(1, 0, 1)])
def test_records_of_other_images_are_refused(other):
    with pytest.raises(ValueError, match="same images"):
        agreement(bits(), other)


def test_accuracy_by_class():
    labels = torch.tensor([0, 0, 0, 2, 2, 3])
    right = bits(1, 1, 0, 0, 1, 1)
    assert per_class(right, labels, 5) == [2 / 3, None, 1 / 2, 1.0, None]


def test_transfers_to_different_data_have_no_record_in_common():
    regime = {"recipe": {"epochs": 1, "lr": 0.1}}
    evaluate = {"attack": {"kind": "pgd", "epsilon": 0.1, "alpha": 0.05}}
    digits, mini = ({"name": name, "size": 8} for name in ("digits", "mnist-mini"))
    theta = {
        "dataset": mini,
        "model": {"arch": "resnet8"},
        "pretraining": {"train": regime},
        "evaluation": evaluate,
    }
    transfers = [
        {
            "ticket": {"theta": theta, "pruning": None, "level": 0},
            "dataset": dataset,
            "regime": regime,
            "evaluation": evaluate,
            "seed": 0,
        }
        for dataset in (digits, mini)
    ]
    assert len(RecordEvidence(transfers=transfers[:1]).transfers) == 1
    with pytest.raises(ValueError, match="no images in common"):
        RecordEvidence(transfers=transfers)
