"""What does not fit into memory is taken in parts: gradients add up to the batch's, and it is
marked."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from search_spaces.regimes import Attack, Evaluation, Recipe, Regime
from trainables.jobs import transfer
from trainables.jobs.chain import Chain, run_chain
from trainables.jobs.theta import Worker
from trainables.runtime import out_of_memory
from trainables.runtime.seeding import generator
from trainables.store.checkpoints import Keeper
from trainables.store.ledger import open_ledger
from trainables.store.records import accumulated, epoch_record
from trainables.training.evaluation import judge
from trainables.training.loop import Shard, fit, snapshot
from trainables.training.step import gradients

PGD = Attack(kind="pgd", epsilon=0.1, alpha=0.05, steps=3)
EVALUATION = Evaluation(attack=PGD, validation=PGD)
ERRORS = {
    "a GPU's": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "the CPU's": lambda: torch.empty(10**13),
    "Windows'": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] not enough memory: you ..."),
    "a library's": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."),
    "Python's": lambda: bytearray(10**17),
}


def regime(attack=None, epochs=3, mode="train"):
    recipe = Recipe(epochs=epochs, batch_size=16, lr=0.05)
    return Regime(recipe=recipe, attack=attack, **({"attack_mode": mode} if attack else {}))


def without_batchnorm(net):
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(1, child.num_features))
    return net


class Short:
    """A network's memory holds so many images in training; more raise. It counts how often."""

    def __init__(self, net, images, error=ERRORS["a GPU's"], after=0, modes=(True,)):
        self.images, self.error, self.after, self.times = images, error, after, 0
        self.modes = modes
        net.register_forward_pre_hook(self)

    def __deepcopy__(self, memo):
        return self  # judging works on a copy of the network

    def __call__(self, net, inputs):
        if net.training not in self.modes:
            return
        self.after -= 1
        if self.after < 0 and len(inputs[0]) > self.images:
            self.times += 1
            raise self.error()  # or it is raised already, by a real allocation


@pytest.mark.parametrize("parts", [2, 3, 5, 16])
@pytest.mark.parametrize("how", [regime(), regime(PGD), regime(PGD, mode="eval")])
def test_gradients_of_parts_add_up_to_the_batchs(net, how, parts):
    net = without_batchnorm(net).double().train()
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(16, 1, 8, 8, generator=rng, dtype=torch.float64), torch.arange(16) % 2
    x = x.contiguous(memory_format=torch.channels_last)

    def of(number):
        loss, right = gradients(net, net, x, y, how, generator(0, "x"), number)
        return loss, right, [p.grad.clone() for p in net.parameters()]

    loss, right, whole = of(1)
    parted_loss, parted_right, parted = of(parts)
    assert parted_right == right
    torch.testing.assert_close(parted_loss, loss, rtol=1e-6, atol=1e-6)
    for one, other in zip(whole, parted, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
    if how.attack is None:
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), whole, strict=True))


def test_whole_trainings_without_batchnorm_agree(net, stripes):
    net = without_batchnorm(net)
    trained = []
    for parts in (1, 4):
        model = copy.deepcopy(net)
        list(fit(model, stripes, regime(), 0, parts=parts))
        trained.append(snapshot(model))
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("protocol", ["plain", "worst_iterate"])
def test_judging_in_parts_gives_the_same_answers(net, stripes, protocol):
    attack = PGD.model_copy(update={"restarts": 2, "epsilon": 0.3})
    list(fit(net, stripes, regime(), 0))
    whole = judge(net, stripes.test, attack, protocol)
    short = Short(net, images=7, modes=(False,))
    parted = judge(net, stripes.test, attack, protocol)
    assert short.times >= 3
    assert torch.equal(whole.clean, parted.clean)
    assert torch.equal(whole.attacked, parted.attacked)
    assert 0 < whole.attacked.sum() < whole.clean.sum()


@pytest.mark.parametrize("attack", [None, PGD])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_what_does_not_fit_is_halved_until_it_does(net, stripes, attack, error):
    """The training is, bit for bit, the one that began with as many parts."""
    expected = copy.deepcopy(net)
    wanted = list(fit(expected, stripes, regime(attack), 0, EVALUATION, parts=4))
    short = Short(net, images=5, error=error)
    epochs = list(fit(net, stripes, regime(attack), 0, EVALUATION))
    assert short.times == 2
    assert [e.parts for e in epochs] == [4, 4, 4]
    assert [(e.loss, e.val) for e in epochs] == [(e.loss, e.val) for e in wanted]
    assert all(torch.equal(v, expected.state_dict()[n]) for n, v in net.state_dict().items())


def test_parts_change_what_batchnorm_sees_and_are_marked(net, stripes):
    losses = [next(fit(copy.deepcopy(net), stripes, regime(), 0, parts=k)).loss for k in (1, 2)]
    assert losses[0] != losses[1]
    whole, parted = (list(fit(copy.deepcopy(net), stripes, regime(), 0, parts=k)) for k in (1, 2))
    assert accumulated(list(map(epoch_record, whole))) == {}
    assert all("accumulated" not in epoch_record(e) for e in whole)
    assert accumulated(list(map(epoch_record, parted))) == {"accumulated": 2}
    assert accumulated([]) == {}


def test_where_single_images_do_not_fit_it_is_an_error(net, stripes):
    short = Short(net, images=0)
    with pytest.raises(torch.OutOfMemoryError):
        list(fit(net, stripes, regime(), 0))
    assert short.times == 5  # 16, 8, 4, 2 and 1 images


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")])
def test_other_errors_are_not_tried_again(net, stripes, error):
    def fail():
        raise error

    short = Short(net, images=5, error=fail)
    with pytest.raises(type(error), match=str(error)):
        list(fit(net, stripes, regime(), 0))
    assert short.times == 1


@pytest.mark.parametrize("after", [0, 6])
def test_an_interrupted_training_goes_on_in_as_many_parts(net, stripes, tmp_path, after):
    """Memory runs out in the first step or in the second epoch's third; a kill follows."""

    def run(model, keeper, stop=None):
        def start(progress):
            return fit(model, stripes, regime(), 0, resume=progress)

        done, marks = [], []
        for epoch, records in keeper.epochs(start, 3):
            done.append((epoch.loss, epoch.parts))
            marks = [record.get("accumulated") for record in records]
            if epoch.number == stop:
                break
        return done, marks

    whole, cut, rest = (copy.deepcopy(net) for _ in range(3))
    for model in (whole, cut):
        Short(model, images=8, after=after)
    expected = run(whole, Keeper(tmp_path / "a", 1e9))
    keeper = Keeper(tmp_path / "b", seconds=0)
    run(cut, keeper, stop=3)
    assert keeper.load()[0].parts == 2
    assert run(rest, keeper) == (expected[0][2:], expected[1])
    assert expected[1] == [2 if after == 0 else None, 2, 2]
    assert all(torch.equal(v, whole.state_dict()[n]) for n, v in rest.state_dict().items())


def test_of_several_processes_none_repeats_a_step_alone(net, stripes):
    from trainables.training.step import Portions

    short = Short(net, images=5)
    x, y = stripes.train[:16].pixels(), stripes.train.y[:16]
    rng = generator(0, "x")
    with pytest.raises(torch.OutOfMemoryError):
        Portions(alone=False).step(
            lambda parts: gradients(net, net, x, y, regime(), rng, parts), net.train(), rng, 16
        )
    assert short.times == 1


def _rank(rank, folder, net, stripes):
    """One of two processes: a training in two parts a batch."""
    from torch import distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    net = copy.deepcopy(net)  # What is handed over lies in memory that both share.
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    model = DistributedDataParallel(net)
    list(fit(model, stripes, regime(epochs=1), 0, shard=Shard(rank, 2), parts=2))
    torch.save(snapshot(net), f"{folder}/{rank}")
    dist.destroy_process_group()


def test_two_processes_in_parts_train_the_network_of_one(net, stripes, tmp_path):
    net = without_batchnorm(net)
    alone = copy.deepcopy(net)
    torch.multiprocessing.spawn(_rank, (str(tmp_path), net, stripes), nprocs=2)
    list(fit(alone, stripes, regime(epochs=1), 0))
    first, second = (torch.load(tmp_path / str(rank), weights_only=True) for rank in (0, 1))
    for name, value in snapshot(alone).items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Task was killed due to the node running low on memory.", True),
        ("ray.exceptions.OutOfMemoryError: 1 worker killed", True),
        ("No space left on device", False),
        ("The actor died unexpectedly before finishing this task.", False),
    ],
)
def test_what_names_memory(text, expected):
    assert out_of_memory.named_in(text) is expected


@pytest.fixture
def study():
    from search_spaces.reading import studies
    from tests.trainables.jobs.test_chain_and_transfer import YAML

    return studies.validate(studies.parse(YAML, "tiny"), "tiny")


def test_results_are_marked_and_keep_their_keys(study, tmp_path, monkeypatch):
    """Theta, tickets and transfers of a machine that holds ten images of a batch."""
    from search_spaces import grid
    from trainables.models import resnets
    from tuner.storage.entries import entries, tags

    build = resnets.build

    def small(*args):
        net = build(*args)
        Short(net, images=10)
        return net

    monkeypatch.setattr(resnets, "build", small)
    worker = Worker(open_ledger(tmp_path), Shard(), torch.device("cpu"))
    theta = grid.thetas(study)[0].theta
    list(run_chain(Chain(theta=theta, plans=tuple(study.pruning.values())), worker))
    cell = next(c for c in grid.transfers(study) if c.regime == "adversarial")
    task = transfer.prepare(cell.transfer, worker.ledger, worker.device)
    assert list(transfer.run(task, worker.ledger))[-1]["ends"]
    trained = {
        ("pretraining", 0),
        *(("ticket", level) for level in (2, 3, 4)),  # level 1 prunes theta itself
        ("transfer", 0),
    }
    marked = set()
    for entry in entries(study):
        if worker.ledger.has(entry.spec):
            found = tags(entry, worker.ledger.result(entry.spec))
            if "accumulated" in found:
                marked.add((entry.stage, entry.labels.get("level", 0)))
                assert found["accumulated"] == ("2" if entry.stage == "transfer" else "4")
                assert entry.labels.get("pruning", "imp") in ("imp", "dense")
    assert marked == trained


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Worker was killed due to the node running low on memory.", "4"),
        ("The actor died unexpectedly before finishing this task.", "1"),
    ],
)
def test_a_trial_killed_for_memory_is_tried_again_in_parts(tmp_path, text, parts):
    """Ray's watch over a machine's memory kills processes, which cannot see to it themselves."""
    from types import SimpleNamespace

    from tuner.stages.transfer import _Watcher

    (tmp_path / "error.txt").write_text(f"Failure # 1\n{text}\n")
    trial = SimpleNamespace(
        config={"key": "k", "parts": "1"}, error_file=str(tmp_path / "error.txt")
    )
    watcher = _Watcher(ended=lambda job: None, failed=lambda job, why: None)
    watcher.on_trial_recover(0, [trial], trial)
    assert trial.config == {"key": "k", "parts": parts}
