"""Any network by name: head, prunable weights, normalisation, folding; others' networks."""

import sys

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from search_spaces.errors import InputError
from search_spaces.networks import Model
from trainables.models.anatomy import anatomy, examined, prunable
from trainables.models.folding import folded
from trainables.models.networks import build, checked
from trainables.models.wide_resnets import wide_resnet

RGB = ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])
OURS = [
    (Model(arch="wrn-10-1"), "fc", "block3.layer.0.convShortcut.weight"),
    (Model(arch="preactresnet18", width=4), "linear", "layer2.0.shortcut.0.weight"),
]
THEIRS = [
    (Model(arch="torchvision:mobilenet_v3_small"), 32, "classifier.3", "features.0.0.weight"),
    (Model(arch="torchvision:squeezenet1_1"), 32, "classifier.1", "features.0.weight"),
]


def made(model, classes=7, mean=RGB[0], std=RGB[1], seed=0, size=32):
    return build(model, classes, mean, std, seed, size)


@pytest.fixture
def own(tmp_path, monkeypatch, request):
    """Writes a module of the user's own and gives the name of its factory."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(body):
        name = f"net_{len(sys.modules)}_{abs(hash(request.node.name))}"
        (tmp_path / f"{name}.py").write_text(f"from torch import nn\ndef factory{body}\n")
        return f"{name}:factory"

    return write


@pytest.mark.parametrize(("model", "head", "pruned"), OURS, ids=lambda value: str(value)[:20])
def test_ours_have_heads_and_all_convolutions_are_pruned(model, head, pruned):
    net = made(model)
    assert anatomy(net).heads == (head,)
    assert pruned in prunable(net)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(prunable(net)) == len(convolutions)
    assert checked(net, model, 7, 3, 32).shape == (2, 7)


@pytest.mark.parametrize(
    ("model", "size", "head", "pruned"), THEIRS, ids=lambda value: str(value)[:30]
)
def test_torchvisions_are_made_examined_and_answer(model, size, head, pruned):
    net = made(model, size=size)
    assert anatomy(net).heads == (head,)
    names = prunable(net)
    assert pruned in names
    assert not any(anatomy(net).in_head(name) for name in names)
    parameters = dict(net.named_parameters())
    assert all(parameters[name].dim() > 1 for name in names)
    assert checked(net, model, 7, 3, size).shape == (2, 7)


def test_attentions_projections_are_pruned_and_positions_are_kept():
    net = VisionTransformer(
        **{"image_size": 8, "patch_size": 4, "num_layers": 1, "num_heads": 2},
        **{"hidden_dim": 8, "mlp_dim": 16, "num_classes": 7},
    )
    assert examined(net, 7).heads == ("heads.head",)
    layer = "encoder.layers.encoder_layer_0"
    assert list(examined(net, 7).prunable) == [
        "conv_proj.weight",
        *(f"{layer}.self_attention.{part}" for part in ("in_proj_weight", "out_proj.weight")),
        *(f"{layer}.mlp.{part}.weight" for part in (0, 3)),
    ]


def test_timms_are_made_for_the_size_of_images():
    pytest.importorskip("timm")
    model = Model(arch="timm:vit_tiny_patch16_224", options={"patch_size": 4, "depth": 2})
    net = made(model, size=16)
    assert net.pos_embed.shape == (1, 17, 192)
    assert anatomy(net).heads == ("head",)
    assert prunable(net)[:2] == ["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"]
    assert len(prunable(net)) == 1 + 2 * 4
    assert checked(net, model, 7, 3, 16).shape == (2, 7)


def test_a_network_that_learns_from_a_teacher_has_two_heads():
    pytest.importorskip("timm")
    small = {"patch_size": 4, "depth": 1, "embed_dim": 12}
    net = made(Model(arch="timm:deit_tiny_distilled_patch16_224", options=small), size=8)
    assert anatomy(net).heads == ("head", "head_dist")
    assert not any("head" in name for name in prunable(net))


def test_grey_images_are_shown_three_times_to_a_network_of_colours():
    model = Model(arch="torchvision:squeezenet1_1")
    net = made(model, mean=[0.5], std=[0.25]).eval()
    colours = made(model, mean=[0.5] * 3, std=[0.25] * 3).eval()
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(net(x), colours(x.expand(-1, 3, -1, -1)))


def test_a_wide_resnet_has_the_published_size_and_names():
    """36.5 million of WRN-28-10 (Zagoruyko and Komodakis 2016, table 4)."""
    with torch.device("meta"):
        net = wide_resnet(Model(arch="wrn-28-10"), classes=10, channels=3)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == 36.5
    assert "block1.layer.3.bn2.running_var" in net.state_dict()
    assert "block3.layer.0.convShortcut.weight" in net.state_dict()


@pytest.mark.parametrize(
    "model",
    [*(model for model, *_ in OURS), Model(arch="torchvision:mobilenet_v3_small")],
    ids=lambda model: model.arch,
)
def test_folded_networks_compute_the_same(model):
    net = made(model, size=32)
    x = torch.rand(4, 3, 32, 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    net.eval()
    fold = folded(net)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in n.modules()) for n in (net, fold)]
    assert norms[1] < norms[0]
    torch.testing.assert_close(fold(x), net(x), rtol=1e-3, atol=1e-4)


def test_a_users_network_is_built_from_its_source(own):
    factory = own(
        "(classes, width=4):\n return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(),"
        " nn.Linear(width * 36, 16), nn.ReLU(), nn.Linear(16, classes))"
    )
    net = made(Model(arch=factory, options={"width": 2}), size=8)
    assert net[0].out_channels == 2
    assert anatomy(net).heads == ("4",)
    assert prunable(net) == ["0.weight", "2.weight"]
    chosen = made(Model(arch=factory, prunable=("2.*",)), size=8)
    assert prunable(chosen) == ["2.weight"]


def test_a_head_for_other_classes_is_replaced(own):
    factory = own(
        "(classes):\n return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), "
        "nn.Linear(5, 1000))"
    )
    net = made(Model(arch=factory), classes=3, size=2)
    assert net[3].out_features == 3
    assert anatomy(net).heads == ("3",)
    net = made(Model(arch=factory, head="1"), classes=3, size=2)
    assert (net[1].out_features, anatomy(net).heads) == (3, ("1",))


FAULTS = [
    ("(classes):\n return 3", {}, "returns? a int|gives a int"),
    ("(classes):\n raise ValueError('no luck')", {}, "no luck"),
    ("(classes):\n return nn.Sequential(nn.Flatten(), nn.ReLU())", {}, "head:"),
    ("(classes):\n return nn.Linear(2, 2)", {"head": "fc"}, "no module fc"),
    (
        "(classes):\n return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))",
        {"prunable": ["x*"]},
        "matches x",
    ),
    ("(classes):\n return nn.Sequential(nn.Linear(2, 2))", {}, "nothing to prune"),
]


@pytest.mark.parametrize(("body", "fields", "words"), FAULTS)
def test_what_is_no_network_is_refused_in_one_line(own, body, fields, words):
    with pytest.raises(InputError, match=words):
        made(Model(arch=own(body), **fields), classes=2)


@pytest.mark.parametrize("arch", ["torchvision:resnet51", "torchvision:fcn_resnet50"])
def test_what_torchvision_has_not_is_refused(arch):
    with pytest.raises(InputError, match=r"no such classifier: choose another, as"):
        made(Model(arch=arch))


def test_images_of_a_wrong_size_are_refused():
    model = Model(arch="torchvision:alexnet")
    with pytest.raises(InputError, match=r"does not take images of 3 x 16 x 16.*size:"):
        checked(made(model), model, 7, 3, 16)


def test_weights_come_from_the_seed_alone():
    model = Model(arch="torchvision:squeezenet1_1")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = made(model).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[n], value) for n, value in made(model).state_dict().items())
    other = made(model, seed=1).state_dict()
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


def test_two_networks_of_a_kind_have_one_structure():
    from trainables.training.workspace import structure

    model = Model(arch="torchvision:squeezenet1_1")
    assert structure(made(model)) == structure(made(model, seed=1))


def test_a_plain_network_is_examined_by_default():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    assert prunable(net) == ["0.weight"]
    assert examined(net).heads == ("3",)
