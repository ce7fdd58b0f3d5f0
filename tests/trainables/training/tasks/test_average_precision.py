"""Mask AP: by hand, and beside pycocotools."""

import contextlib
import io

import numpy as np
import pytest
import torch

from trainables.training.tasks.average_precision import Compared, average_precision, overlaps


def one_class(scores, overlap):
    overlap = np.array(overlap, float)
    kinds = (np.ones(n, int) for n in overlap.shape)
    return Compared(np.array(scores, float), *kinds, overlap)


def test_overlap_is_intersection_over_union():
    a = torch.zeros(2, 4, 4, dtype=torch.bool)
    a[0, :2], a[1, 3] = True, True
    b = a.clone()
    b[0, 1] = False
    assert overlaps(a, b).tolist() == [[0.5, 0.0], [0.0, 1.0]]
    assert overlaps(a[:0], b).shape == (0, 2)


def test_all_found_is_one_and_nothing_found_is_zero():
    assert average_precision([one_class([0.9, 0.8], np.eye(2))]) == 1.0
    assert average_precision([one_class([], np.zeros((0, 2)))]) == 0.0
    assert average_precision([one_class([0.5], np.zeros((1, 0)))]) == 0.0
    assert average_precision([]) == 0.0


def test_an_overlap_of_three_quarters_counts_at_six_of_ten():
    assert average_precision([one_class([0.9], [[0.75]])]) == pytest.approx(0.6)


def test_half_found_first_then_a_miss():
    # Precision 1 up to recall 1/2: 51 of 101 recalls.
    found = one_class([0.9, 0.8], [[1.0, 0.0], [0.0, 0.0]])
    assert average_precision([found]) == pytest.approx(51 / 101)


def test_an_object_is_found_once_and_the_surer_detection_has_it():
    # The second is a miss: precision 1/1, 1/2.
    assert average_precision([one_class([0.8, 0.9], [[0.95], [1.0]])]) == 1.0
    # The surer one overlaps less: above its overlap the other comes second.
    swapped = average_precision([one_class([0.8, 0.9], [[1.0], [0.6]])])
    assert swapped == pytest.approx((3 * 1.0 + 7 * 0.5) / 10)


def made_up(seed):
    """Images of random rectangles, and detections near some of them, of 3 classes."""
    rng = np.random.default_rng(seed)

    def rectangle():
        top, left = rng.integers(0, 14, 2)
        mask = np.zeros((24, 24), bool)
        mask[top : top + rng.integers(3, 10), left : left + rng.integers(3, 10)] = True
        return mask

    images = []
    for _ in range(6):
        there = [rectangle() for _ in range(rng.integers(1, 6))]
        kinds = rng.integers(1, 4, len(there))
        found = [np.roll(m, rng.integers(-1, 2), rng.integers(0, 2)) for m in there]
        found += [rectangle() for _ in range(3)]
        guessed = np.where(rng.random(len(found)) < 0.8, np.resize(kinds, len(found)), 2)
        scores = rng.permutation(np.linspace(0.1, 0.9, len(found)))
        images.append((np.array(there), kinds, np.array(found), guessed, scores))
    return images


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_as_pycocotools(seed):
    coco = pytest.importorskip("pycocotools.coco")
    judge = pytest.importorskip("pycocotools.cocoeval")
    encode = pytest.importorskip("pycocotools.mask").encode
    images, truth, answers, ours = made_up(seed), [], [], []

    def rle(mask):
        return encode(np.asfortranarray(mask.astype(np.uint8)))

    for number, (there, kinds, found, guessed, scores) in enumerate(images, 1):
        for mask, kind in zip(there, kinds, strict=True):
            row = {"image_id": number, "category_id": int(kind), "segmentation": rle(mask)}
            truth.append({**row, "id": len(truth) + 1, "iscrowd": 0, "area": int(mask.sum())})
        for mask, kind, score in zip(found, guessed, scores, strict=True):
            row = {"image_id": number, "category_id": int(kind), "segmentation": rle(mask)}
            answers.append({**row, "score": float(score)})
        overlap = overlaps(torch.from_numpy(found), torch.from_numpy(there)).numpy()
        ours.append(Compared(scores, guessed, kinds, overlap))
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "info": {},
            "images": [{"id": k + 1, "height": 24, "width": 24} for k in range(len(images))],
            "categories": [{"id": k} for k in (1, 2, 3)],
            "annotations": truth,
        }
        data.createIndex()
        theirs = judge.COCOeval(data, data.loadRes(answers), "segm")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    assert 0.1 < average_precision(ours) < 0.9
    assert average_precision(ours) == pytest.approx(theirs.stats[0], abs=1e-9)
