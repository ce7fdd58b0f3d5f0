"""The page's own attack: in training and evaluation, its source in the key."""

import pytest
import torch
import yaml

from search_spaces.errors import InputError
from search_spaces.keys import key
from search_spaces.regimes import Attack, Regime
from tests.conftest import striped
from tests.support.pages import as_mine, blocks
from tests.support.studies import tiny
from trainables.runtime.seeding import generator
from trainables.training.attacks import perturb
from trainables.training.evaluation import evaluate
from trainables.training.loop import fit
from tuner.storage.inputs import check, resolve


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (code,) = blocks("regimes.md", "python")
    yield from as_mine(code, tmp_path, monkeypatch)


@pytest.fixture
def attack():
    (section,) = blocks("regimes.md", "yaml")
    return Attack.model_validate(yaml.safe_load(section)["adversarial"]["attack"])


def test_it_trains_and_judges(mine, attack, net, stripes):
    (section,) = blocks("regimes.md", "yaml")
    regime = Regime.model_validate(yaml.safe_load(section)["adversarial"])
    list(fit(net, stripes, regime, 0))
    images = striped(32, 5)
    attacked = perturb(net.eval(), images.pixels(), images.y, attack, generator(0, "x"))
    assert (attacked - images.pixels()).abs().max() <= 0.15 + 1e-6
    assert all(parameter.requires_grad for parameter in net.parameters())
    plain = evaluate(net, images, attack).scores
    assert plain.ra <= plain.sa
    assert evaluate(net, images, attack, "worst_iterate").scores == plain


def test_its_source_is_part_of_the_key_wherever_it_stands(mine, tmp_path):
    ours = {"kind": "mine:momentum", "steps": 2, "epsilon": 0.1, "alpha": 0.1}
    study = tiny(f"downstream.0.regimes.adversarial.attack={ours}", f"evaluation.attack={ours}")
    found = resolve(study, tmp_path)
    check(found)
    regime = found.downstream[0].regimes["adversarial"]
    digests = {
        a.sha256 for a in (regime.attack, found.evaluation.attack, found.evaluation.validation)
    }
    assert len(digests) == 1 and None not in digests
    mine.write_text(mine.read_text() + "# changed\n")
    again = resolve(study, tmp_path)
    assert key(again.downstream[0].regimes["adversarial"].regime) != key(regime.regime)
    with pytest.raises(
        InputError, match=r"downstream\.0\.regimes\.adversarial\.attack: its source"
    ):
        resolve(found, tmp_path)


def test_what_are_no_images_is_refused(mine, attack, net):
    mine.write_text("def momentum(model, x, y, attack, rng):\n    return x[:1]\n")
    x = torch.rand(4, 1, 8, 8)
    with pytest.raises(InputError, match="mine:momentum: gives no images of shape"):
        perturb(net, x, torch.zeros(4, dtype=torch.int64), attack, generator(0, "x"))
