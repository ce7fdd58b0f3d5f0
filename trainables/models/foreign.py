"""Networks that are not ours: torchvision's and timm's by name, and the user's own factory."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from search_spaces.errors import InputError
from search_spaces.networks import Model, is_users, library_and_name
from trainables.runtime import own

# Their auxiliary classifiers give more than logits.
_WITHOUT_AUXILIARIES: dict[str, Any] = {"aux_logits": False, "init_weights": True}
_HAVE_AUXILIARIES = {"googlenet", "inception_v3"}


def foreign(model: Model, classes: int, size: int | None) -> nn.Module:
    """The network of a spec, initialised from torch's generator as its authors do. One that is made
    for a size of images is made for `size` x `size` pixels, where its options say nothing else.

    Raises InputError where a library is not installed or has no such network, or where it cannot
    be made.
    """
    library, name = library_and_name(model.arch)
    options = dict(model.options or ())
    if is_users(model.arch):
        return _made(model.arch, own.load(model.arch, model.sha256), classes, **options)
    if library == "timm":
        return _timm(model.arch, name, classes, size, options)
    return _torchvision(model.arch, name, classes, size, options)


def _torchvision(
    arch: str, name: str, classes: int, size: int | None, options: dict[str, Any]
) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"{arch}: torchvision has no such classifier: {_near(name, known)}")
    builder = models.get_model_builder(name)
    given: dict[str, Any] = {"num_classes": classes}
    if name in _HAVE_AUXILIARIES:
        given |= _WITHOUT_AUXILIARIES
    if size is not None and name.startswith("vit_"):
        given["image_size"] = size
    return _made(arch, builder, weights=None, **{**given, **options})


def _timm(
    arch: str, name: str, classes: int, size: int | None, options: dict[str, Any]
) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise InputError(f"{arch}: timm is not installed: pip install '.[timm]'") from None
    if not timm.is_model(name):
        raise InputError(f"{arch}: timm has no such network: {_near(name, timm.list_models())}")
    given: dict[str, Any] = {"num_classes": classes}
    known = timm.get_pretrained_cfg(name)
    if size is not None and known is not None and known.fixed_input_size:
        given["img_size"] = size
    return _made(arch, timm.create_model, name, pretrained=False, **{**given, **options})


def _made(arch: str, factory: Callable[..., Any], *arguments: Any, **options: Any) -> nn.Module:
    """What a factory makes. Raises InputError where that is no network."""
    try:
        net = factory(*arguments, **options)
    # Libraries and users raise anything.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{arch}: cannot be made: {reason}: {_remedy(factory)}") from error
    if not isinstance(net, nn.Module):
        raise InputError(f"{arch}: gives a {type(net).__name__}: it must return a torch.nn.Module")
    return net


def _remedy(factory: Callable[..., Any]) -> str:
    try:
        return f"correct options: or size:, it takes {inspect.signature(factory)}"[:300]
    except (TypeError, ValueError):
        return "correct options: or size:"


def _near(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name.partition(".")[0], known, n=3, cutoff=0.4)
    return f"choose another, as {', '.join(near or known[:3])}"
