"""Reliability by hand and against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from trainables.evidence.calibration import reliability


def test_by_hand():
    sure = torch.tensor([0.95, 0.85, 0.55, 0.55])
    right = torch.tensor([True, False, True, False])
    found = reliability(sure, right, bins=2)
    assert found["confidence"] == pytest.approx(0.725)
    assert found["accuracy"] == 0.5
    assert found["ece"] == pytest.approx(0.225)
    found = reliability(sure, right, bins=10)
    assert [(b["low"], b["count"]) for b in found["bins"]] == [(0.5, 2), (0.8, 1), (0.9, 1)]
    # 2/4 of |0.5 - 0.55|, 1/4 of |0 - 0.85|, 1/4 of |1 - 0.95|.
    assert found["ece"] == pytest.approx(0.025 + 0.2125 + 0.0125)


def test_as_sure_as_right():
    sure = torch.full((4,), 0.75)
    assert reliability(sure, torch.tensor([True, True, True, False]), 15)["ece"] == 0


def test_certainty_has_a_bin():
    found = reliability(torch.tensor([1.0, 0.0]), torch.tensor([True, False]), 5)
    assert [b["low"] for b in found["bins"]] == [0.0, 0.8]
    assert found["ece"] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20))
def test_bins_are_scikit_learns(seed, count, bins):
    rng = np.random.default_rng(seed)
    # Away from the edges, which belong to the lower bin here and to the upper one there.
    sure = (rng.integers(0, bins, count) + rng.uniform(0.1, 0.9, count)) / bins
    right = rng.random(count) < sure
    found = reliability(torch.tensor(sure), torch.tensor(right), bins)
    accuracy, confidence = calibration_curve(right, sure, n_bins=bins, strategy="uniform")
    assert [b["accuracy"] for b in found["bins"]] == pytest.approx(accuracy)
    assert [b["confidence"] for b in found["bins"]] == pytest.approx(confidence)
    assert sum(b["count"] for b in found["bins"]) == count
    assert 0 <= found["ece"] <= 1
