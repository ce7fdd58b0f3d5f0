"""The check of captured steps. On a CPU, all ways agree to the bit; what it finds on a GPU."""

import sys

import pytest
import torch

from trainables.bench import __main__ as bench
from trainables.bench.equivalence import cases, check
from trainables.bench.equivalence.check import Finding

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NOTHING = (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["standard", "mask", "evaluation, every iterate"])
def test_on_a_cpu_all_ways_agree_to_the_bit(name):
    (finding,) = check.run(CPU, (name,))
    assert (finding.name, finding.off, finding.calls) == (name, NOTHING, NOTHING)
    assert finding.holds(CPU)


@pytest.mark.parametrize("apart", [(1.0, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.5)])
def test_a_difference_is_found(apart):
    assert not Finding("pgd", apart, NOTHING, ("eager",)).holds(CPU)
    assert not Finding("pgd", NOTHING, apart, ("eager",)).holds(CPU)


def test_on_a_gpu_all_must_be_captured_but_what_waits():
    waits = next(name for name in cases.CASES if "waits" in name)
    assert Finding("pgd", NOTHING, NOTHING, ("graph",)).holds(CUDA)
    assert not Finding("pgd", NOTHING, NOTHING, ("graph", "eager: why")).holds(CUDA)
    assert not Finding(waits, NOTHING, NOTHING, ("graph",)).holds(CUDA)
    assert Finding(waits, NOTHING, NOTHING, ("eager: why",)).holds(CUDA)


@pytest.mark.parametrize(("apart", "code"), [(NOTHING, 0), ((0.5, 0.5, 0.5), 1)])
def test_the_command_says_so_in_one_line(apart, code, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--check"])
    monkeypatch.setattr(check, "run", lambda _: iter([Finding("pgd", apart, apart, ("eager",))]))
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == code
    assert len(capsys.readouterr().out.splitlines()) == 1
