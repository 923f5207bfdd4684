"""Networks of libraries by name: torchvision's, timm's and our own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from ..core.errors import ConfigError, nearest, one_line
from .architecture import Architecture, State, timm_input
from .networks import NETWORKS
from .state_dicts import read_weights

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"

# torchvision's networks with auxiliary heads: the heads by the names of their attributes. They run in training alone,
# and then the network returns a tuple. torchvision's pretrained weights are for images that such a network normalises
# itself once more, which is a flag of the network; the names that end so build it with the flag.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
_TRANSFORM_INPUT = ".transform_input"


def own_architecture(name: str) -> Architecture:
    network = NETWORKS[name]
    shipped = SHIPPED_WEIGHTS / f"{name}.safetensors"

    def pretrained(entry: str | None) -> State:
        if entry is not None or not shipped.exists():
            raise ConfigError(f"{name} has no weights of that name: pass --weights FILE.safetensors, or --weights none")
        return read_weights(shipped)

    return Architecture(
        name=name,
        build=lambda num_classes, channels: network.build(num_classes=num_classes or 10, in_channels=channels),
        pretrained=pretrained,
        base=name,
        image_size=network.image_size,
        mean=network.mean,
        std=network.std,
    )


def torchvision_architecture(name: str) -> Architecture:
    import torchvision

    # torchvision.models alone: detection and segmentation models are registered elsewhere.
    known = torchvision.models.list_models(module=torchvision.models)
    full, name = name, name.removesuffix(_TRANSFORM_INPUT)
    transforms, heads = full != name, _AUXILIARY.get(name, ())
    if name not in known or (transforms and not heads):
        if os.path.isfile(full):
            raise ConfigError(f"{full} is a file: name its architecture, and give the file as the weights of that")
        raise ConfigError(
            f"there is no teacher {full!r}{nearest(full, [*known, *NETWORKS])}"
            " (names: torchvision's, timm/NAME, our own, a saved model's folder, path/to/file.py:factory)"
        )
    entries = torchvision.models.get_model_weights(name)
    best = next(iter(entries)) if len(entries) else None
    best = getattr(entries, "DEFAULT", best)

    def build(num_classes: int | None, channels: int) -> nn.Module:
        if channels != 3:
            raise ConfigError(f"{name} takes colour images: give --mean and --std three numbers each")
        options = {"transform_input": transforms, "init_weights": True} if heads else {}
        network = torchvision.models.get_model(name, weights=None, num_classes=num_classes or 1000, **options)
        for attribute, value in {"aux_logits": False, **dict.fromkeys(heads)}.items() if heads else ():
            setattr(network, attribute, value)
        return network

    def pretrained(entry: str | None) -> State:
        weights = best if entry is None else entries.__members__.get(entry)
        if weights is None:
            raise ConfigError(
                f"{name} has no weights {entry!r}{nearest(str(entry), entries.__members__)}; a file must end in"
                " .safetensors, .pth or .pt"
            )
        try:
            return weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash is a RuntimeError
            raise _no_download(name, error) from error

    size, mean, std = 224, None, None
    if best is not None:
        preset = best.transforms()
        size, mean, std = preset.crop_size[0], tuple(preset.mean), tuple(preset.std)
    return Architecture(
        name=full,
        build=build,
        pretrained=pretrained,
        base=full,
        image_size=size,
        mean=mean,
        std=std,
        class_names=tuple(best.meta.get("categories", ())) if best is not None else (),
        trained=torchvision_architecture(name + _TRANSFORM_INPUT) if heads and not transforms else None,
        auxiliary=tuple(f"{head}." for head in heads),
    )


def timm_architecture(name: str) -> Architecture:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"{name} needs timm: pip install 'dreamdistill[timm]'") from error
    model = name.removeprefix("timm/")
    base = model.split(".")[0]
    if not timm.is_model(base):
        raise ConfigError(f"timm has no model {base!r}{nearest(base, timm.list_models())}")
    try:
        config = timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        hint = nearest(model, timm.list_pretrained(f"{base}.*"))
        raise ConfigError(f"timm has no weights {model!r}{hint}") from error
    cfg: dict[str, Any] = config.to_dict() if config is not None else {}

    def build(num_classes: int | None, channels: int) -> nn.Module:
        try:
            return timm.create_model(model, pretrained=False, num_classes=num_classes, in_chans=channels)
        except Exception as error:  # a hundred families of networks, each with its own demands
            raise ConfigError(f"timm cannot build {model} ({one_line(error)})") from error

    def pretrained(entry: str | None) -> State:
        if entry is not None:
            raise ConfigError(f"timm names its weights in the model: timm/{base}.{entry}")
        try:
            return timm.create_model(model, pretrained=True).state_dict()
        except Exception as error:  # the hub client raises errors of three libraries, none with a common base
            raise _no_download(name, error) from error

    return Architecture(name=name, base=name, build=build, pretrained=pretrained, **timm_input(cfg))


def _no_download(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the weights of {name} could not be downloaded ({one_line(error)}): fetch them on a machine with a network"
        " and pass --weights FILE.safetensors or FILE.pth (--weights none for random weights)"
    )
