"""Lack of memory ends in one line that names the field to lower; nothing is split in silence."""

import pickle

import pytest
import torch

from search_spaces.regimes import Attack, Evaluation, Recipe, Regime
from trainables.runtime import memory
from trainables.training.loop import fit
from tuner.storage import failures

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)
EVALUATION = Evaluation(attack=PGD, validation=PGD, batch_size=8)
ERRORS = {
    "a GPU's": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "the CPU's": lambda: torch.empty(10**13),
    "Windows'": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] not enough memory: you ..."),
    "a library's": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."),
    "Python's": lambda: bytearray(10**17),
}


class Short:
    """A network's memory holds so many images in one pass of a mode; more raise."""

    def __init__(self, net, images, error=ERRORS["a GPU's"], training=True):
        self.images, self.error, self.training, self.times = images, error, training, 0
        net.register_forward_pre_hook(self)

    def __deepcopy__(self, memo):
        return self  # evaluation works on a copy of the network

    def __call__(self, net, inputs):
        if net.training == self.training and len(inputs[0]) > self.images:
            self.times += 1
            raise self.error()  # or it is raised already, by a real allocation


def regime(attack=None, micro_batch=None):
    recipe = Recipe(epochs=1, batch_size=16, micro_batch=micro_batch, lr=0.05)
    return Regime(recipe=recipe, attack=attack)


@pytest.mark.parametrize("attack", [None, PGD])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_training_names_micro_batch(net, stripes, attack, error):
    short = Short(net, images=8, error=error)
    with pytest.raises(memory.OutOfMemoryError) as raised:
        list(fit(net, stripes, regime(attack), 0, EVALUATION))
    assert short.times == 1
    assert "micro_batch" in str(raised.value) and "16" in str(raised.value)
    assert "\n" not in str(raised.value)
    list(fit(net, stripes, regime(attack, micro_batch=8), 0, EVALUATION))


@pytest.mark.parametrize("protocol", ["plain", "worst_iterate"])
def test_an_evaluation_names_its_batch_size(net, stripes, protocol):
    Short(net, images=8, training=False)
    fits = EVALUATION.model_copy(update={"protocol": protocol})
    list(fit(net, stripes, regime(PGD), 0, fits))
    with pytest.raises(memory.OutOfMemoryError, match="batch_size") as raised:
        list(fit(net, stripes, regime(PGD), 0, fits.model_copy(update={"batch_size": 32})))
    assert "micro_batch" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")])
def test_other_errors_pass_as_they_are(net, stripes, error):
    def fail():
        raise error

    Short(net, images=8, error=fail)
    with pytest.raises(type(error), match=str(error)):
        list(fit(net, stripes, regime(), 0))


def test_it_is_the_machines_failure_and_can_be_handed_on():
    error = pickle.loads(pickle.dumps(memory.OutOfMemoryError("out of memory: ... micro_batch")))
    reason = failures.reason_of(error)
    assert reason.outside and "micro_batch" in reason.error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Task was killed due to the node running low on memory.", True),
        ("ray.exceptions.OutOfMemoryError: 1 worker killed", True),
        ("No space left on device", False),
        ("The actor died unexpectedly before finishing this task.", False),
    ],
)
def test_a_process_killed_for_memory_names_the_field_too(text, expected):
    """Ray's watch over a machine's memory kills processes, which cannot say anything themselves."""
    assert memory.named_in(text) is expected
    assert ("micro_batch" in failures.reason_by_ray(text).error) is expected
