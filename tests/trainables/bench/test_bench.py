"""The bench end to end on its smallest rows, its table, and what it says of slots."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from search_spaces.errors import InputError
from tests.support.paths import ROOT
from trainables.bench import measure, packing
from trainables.bench.interleaving import Quartiles
from trainables.bench.measure import BenchSettings
from trainables.bench.rows import asked
from trainables.bench.table import BenchRow, amount, lines
from tuner.bench import growth
from tuner.bench.growth import Cost
from tuner.bench.measure import between

FEW = BenchSettings(only=("quickstart standard",), seconds=0, turn=0.02)


def test_a_row_is_measured_against_the_published_loop_and_the_roofline():
    said = []
    (row,) = measure.run(FEW, said.append)
    assert said == ["1/1 quickstart standard step ..."]
    assert (row.unit, row.batch, row.rounds) == ("images", 64, 3)
    assert list(row.against) == ["paper"]
    assert 0 < row.against["paper"].low <= row.against["paper"].median
    assert row.roofline is not None and 0 < row.roofline.median < 1.5
    assert row.traffic is None


def test_rows_are_chosen_by_words():
    names = [ask.name for ask in measure.selected(replace(FEW, only=("PGD-10", "prune")))]
    assert names == [
        "quickstart PGD-10 AT step",
        "resnet20 PGD-10 AT step",
        "resnet18 PGD-10 AT step",
        "prune resnet50",
    ]
    with pytest.raises(InputError, match="--only unheard: no row's name has it; there are quick"):
        measure.selected(replace(FEW, only=("unheard",)))


def test_a_library_that_does_not_run_is_left_out():
    said = []
    asked = replace(FEW, only=("quickstart FAT",), peers=("unheard",))
    (row,) = measure.run(asked, said.append)
    assert said[0].startswith("left out: bench: unheard fails: ")
    assert list(row.against) == ["paper", "unfrozen"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(InputError, match="--device cuda: torch sees no GPU on this machine"):
        list(measure.run(replace(FEW, device="cuda"), pytest.fail))


def test_resnet50_and_whole_batches_are_asked_for_in_full():
    few = measure.selected(replace(FEW, only=()))
    full = measure.selected(replace(FEW, only=(), full=True))
    (named,) = measure.selected(replace(FEW, only=("resnet50 FAT",)))
    assert named.batch == 4
    assert not any("resnet50" in ask.name and "step" in ask.name for ask in few)
    assert {ask.batch for ask in full if ask.name.startswith("resnet18")} == {128}


def test_libraries_attack_and_do_nothing_else():
    columns = {ask.name: list(ask.others) for ask in asked({"resnet20": 8}, ["torchattacks"])}
    assert columns["resnet20 standard step"] == ["paper"]
    assert columns["resnet20 PGD-10 AT step"] == ["paper", "unfrozen", "torchattacks"]
    assert columns["resnet20 PGD-20 evaluation"] == ["paper", "torchattacks"]


def test_a_contender_that_cannot_is_named_with_its_reason():
    with (
        measure.contenders(["ours"], FEW) as found,
        pytest.raises(InputError, match="bench: ours fails: KeyError: 'unheard': choose"),
    ):
        found["ours"].rate({"case": "unheard", "operation": "evaluate", "batch": 1, "images": 1})


def test_the_table_says_ratios_with_their_quartiles():
    ratio = Quartiles(1.234, 1.2, 1.3)
    rows = [
        BenchRow(
            "net A step", "images", 64, 5, Quartiles(812.3, 800, 820), {"paper": ratio}, ratio
        ),
        BenchRow("prune", "weights", None, 3, Quartiles(6.4e7, 6e7, 7e7), {"torch": ratio}),
    ]
    head, step, prune, *_ = lines(rows)
    assert head.split() == ["batch", "ours", "of", "roofline", "x", "paper", "x", "torch"]
    assert step.split() == ["net", "A", "step", "64", "812", "images/s", "123", "%", "1.23",
                            "(1.20-1.30)"]  # fmt: skip
    assert prune.startswith("prune") and "64 million weights/s" in prune
    assert prune.index("1.23") == head.index("x torch")


def test_amounts():
    assert [amount(v) for v in (8.314, 99.9, 412.2, 3214, 8.6e7)] == [
        "8.31", "99.9", "412", "3,214", "86 million",
    ]  # fmt: skip


def test_gaps_between_jobs_by_hand():
    """Two slots: 0-4, 5-9 and 0-2, 3-10."""
    gaps, busy = between([(0, 4), (0, 2), (3, 10), (5, 9)], slots=2)
    assert gaps == [1, 1]
    assert busy == pytest.approx((4 + 2 + 7 + 4) / 20)


def test_crowds_are_tried_up_to_the_cores_and_one_more():
    assert packing.sizes(FEW, cores=2) == [1, 2, 3]
    assert packing.sizes(FEW, cores=16) == [1, 2, 4, 8, 16, 17]
    assert packing.sizes(replace(FEW, threads=2), cores=2) == [1, 2]
    assert packing.sizes(replace(FEW, device="cuda"), cores=2)[-1] == 8


def test_the_best_crowd_is_told_as_a_flag():
    ratio = Quartiles(1.8, 1.7, 1.9)
    one, two = (
        packing.Crowd("resnet20", "processes", n, Quartiles(100, 99, 101), gain)
        for n, gain in ((1, Quartiles(1, 1, 1)), (3, ratio))
    )
    on_gpu = packing.advice([one, two], replace(FEW, device="cuda"))
    assert on_gpu[-1] == "resnet20: most with 3 processes side by side: --gpus-per-trial 0.33"


def test_the_bench_needs_neither_ray_nor_mlflow(tmp_path):
    code = "import sys; sys.modules.update(ray=None, mlflow=None, rich=None, typer=None); "
    code += (
        "sys.argv[1:] = ['--only', 'unheard']; from trainables.bench.__main__ import main; main()"
    )
    home = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --only unheard: no row's name has it; there are")
    assert len(done.stderr.splitlines()) == 1


def test_growth_is_told_for_each_size_and_each_further_thousand():
    def costs(seconds):
        return {c: Cost(2 * seconds, seconds, 500_000_000) for c in growth.COMMANDS}

    head, small, large, more, _ = growth.lines({100: costs(1.0), 1100: costs(3.5)})
    assert head.split()[:4] == ["transfers", "plan", "run", "status"]
    assert small.split()[:5] == ["100", "1.00", "s", "2.00", "s"]
    assert large.split()[-2:] == ["500", "MB"]
    assert more.split()[:6] == ["1,000", "more", "2.50", "s", "5.00", "s"]
    with pytest.raises(InputError, match="--growth 21: takes multiples of 4"):
        growth.run([21], pytest.fail)


@pytest.mark.long
def test_a_study_that_hardly_trains_goes_through_every_command():
    said = []
    (costs,) = growth.run([4], said.append).values()
    assert list(costs) == list(growth.COMMANDS)
    assert len(said) == len(costs)
    assert all(
        cost.seconds > 0 and cost.processor > 0 and cost.memory > 0 for cost in costs.values()
    )
