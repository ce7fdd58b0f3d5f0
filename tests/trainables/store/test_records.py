"""Per-image records: what is packed is unpacked, bit by bit, and small."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.verdict.records import pack, unpack


def record(images, seed):
    rng = np.random.default_rng(seed)
    return {score: rng.random(images) < 0.7 for score in ("SA", "RA")}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        assert found[name].keys() == {"SA", "RA"}
        for score, bits in scores.items():
            assert found[name][score].dtype == bool
            np.testing.assert_array_equal(found[name][score], bits)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12))
def test_a_round_trip_whatever_the_sizes(sizes):
    """Several numbers of images side by side: tasks differ, and few are divisible by 8."""
    correct = {f"{seed:016x}": record(images, seed) for seed, images in enumerate(sizes)}
    assert_same(unpack(pack(correct)), correct)


@pytest.mark.parametrize("images", [7, 8, 9, 359, 360])
def test_the_last_images_are_not_padding(images):
    correct = {"a": {"SA": np.ones(images, bool), "RA": np.zeros(images, bool)}}
    assert_same(unpack(pack(correct)), correct)


def test_nothing_is_nothing():
    assert unpack(pack({})) == {}


def test_ten_thousand_transfers_take_a_bit_an_image():
    images, transfers = 1001, 10_000
    bits = np.random.default_rng(0).random((2, transfers, images)) < 0.5
    correct = {f"{n:016x}": {"SA": bits[0, n], "RA": bits[1, n]} for n in range(transfers)}
    content = pack(correct)
    keys = 64 * transfers
    assert len(content) < 2 * transfers * (images / 8 + 1) + keys + 10_000
    found = unpack(content)
    np.testing.assert_array_equal(np.array([found[name]["SA"] for name in correct]), bits[0])
    np.testing.assert_array_equal(np.array([found[name]["RA"] for name in correct]), bits[1])


def test_records_hold_no_code():
    """They come from a store that others may write to."""
    from io import BytesIO

    buffer = BytesIO()
    names = {name: np.array([{"a": 1}], object) for name in ("1/keys", "1/SA", "1/RA")}
    np.savez(buffer, allow_pickle=True, **names)
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(buffer.getvalue())
