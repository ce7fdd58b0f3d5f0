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
    given = arguments(model, size)
    if is_users(model.arch):
        return _made(model.arch, own.load(model.arch, model.sha256), classes, **given)
    if library == "timm":
        return _timm(model.arch, name, classes, given)
    return _torchvision(model.arch, name, classes, given)


def arguments(model: Model, size: int | None) -> dict[str, Any]:
    """What a network's factory is given beside the number of classes: the spec's own options, and
    what its library needs to be told. Raises InputError where timm is not installed."""
    library, name = library_and_name(model.arch)
    given: dict[str, Any] = {}
    if library == "torchvision":
        if name in _HAVE_AUXILIARIES:
            given |= _WITHOUT_AUXILIARIES
        if size is not None and name.startswith("vit_"):
            given["image_size"] = size
    elif library == "timm":
        timm = _imported(model.arch)
        known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
        if size is not None and known is not None and known.fixed_input_size:
            given["img_size"] = size
    return {**given, **dict(model.options or ())}


def _torchvision(arch: str, name: str, classes: int, given: dict[str, Any]) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"{arch}: torchvision has no such classifier: {_near(name, known)}")
    builder = models.get_model_builder(name)
    return _made(arch, builder, weights=None, **{"num_classes": classes, **given})


def _timm(arch: str, name: str, classes: int, given: dict[str, Any]) -> nn.Module:
    timm = _imported(arch)
    if not timm.is_model(name):
        raise InputError(f"{arch}: timm has no such network: {_near(name, timm.list_models())}")
    options = {"pretrained": False, "num_classes": classes, **given}
    return _made(arch, timm.create_model, name, **options)


def _imported(arch: str) -> Any:
    try:
        import timm
    except ImportError:
        raise InputError(f"{arch}: timm is not installed: pip install '.[timm]'") from None
    return timm


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
