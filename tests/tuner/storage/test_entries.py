"""What MLflow is told of a result."""

from tuner.storage.entries import summary


def record(kind, share, **more):
    score = "sa" if kind == "corruptions" else "ra"
    return {"kind": kind, "images": 10, score: share, "warnings": [], **more}


def test_further_checks_are_scores_by_their_names():
    checks = [
        record("attack", 0.3, name="pgd_l2"),
        record("corruptions", 0.6, name="corruptions", by={"fog": [0.6] * 5}),
        record("attack", 0.2, name="pgd_l2"),
        # As earlier versions kept it.
        record("autoattack", 0.1),
    ]
    scores = summary({"started": 0.0, "ended": 1.0, "checks": checks})
    assert scores == {
        "seconds": 1.0,
        "RA_pgd_l2": 0.3,
        "SA_corruptions": 0.6,
        "RA_pgd_l2_2": 0.2,
        "RA_autoattack": 0.1,
    }
