"""Networks by name: a name is a torchvision model (``resnet50``), ``timm/NAME``, one of :data:`~.networks.NETWORKS`, a
folder that :func:`~.checkpoints.save_model` wrote, or ``path/to/file.py:factory`` for a user's own network.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..core.errors import ConfigError
from .architecture import Architecture, State
from .channels import apply_channel_config
from .checkpoints import MODEL_JSON, MODEL_WEIGHTS, ModelRecord, read_model_record
from .libraries import own_architecture, timm_architecture, torchvision_architecture
from .networks import NETWORKS
from .state_dicts import read_weights
from .user_files import user_architecture


def find_architecture(name: str, *, network: nn.Module | None = None) -> Architecture:
    """The architecture of a name.

    Args:
        network: a module of the architecture, for a saved model whose architecture was a module in memory.

    Raises:
        ConfigError: nothing has this name (the nearest one is named), or its package is not installed.
    """
    if network is not None:
        return _saved_model(Path(name), network)
    if name in NETWORKS:
        return own_architecture(name)
    if name.startswith("timm/"):
        return timm_architecture(name)
    path, colon, factory = name.rpartition(":")
    if colon and path.endswith(".py"):
        return user_architecture(Path(path), factory)
    if Path(name).is_dir():
        return _saved_model(Path(name), None)
    return torchvision_architecture(name)


def _saved_model(folder: Path, network: nn.Module | None) -> Architecture:
    if not (folder / MODEL_JSON).is_file():
        raise ConfigError(f"{folder} holds no saved model: there is no {MODEL_JSON} in it")
    saved = read_model_record(folder)

    def build(num_classes: int | None, channels: int) -> nn.Module:
        if num_classes not in (None, saved.num_classes):
            raise ConfigError(f"{folder} has {saved.num_classes} classes, not {num_classes}")
        built = network or _build_base(folder, saved, channels)
        try:
            apply_channel_config(built, saved.channels)
        except ValueError as error:
            raise ConfigError(f"{folder} was saved from another architecture: {error}") from error
        return built

    def pretrained(entry: str | None) -> State:
        if entry is not None:
            raise ConfigError(f"--weights {entry}: there is no such file")
        return read_weights(folder / MODEL_WEIGHTS)

    return Architecture(
        name=str(folder.resolve()),
        base=saved.architecture,
        build=build,
        pretrained=pretrained,
        image_size=saved.image_size,
        mean=saved.mean,
        std=saved.std,
        class_names=saved.class_names,
    )


def _build_base(folder: Path, saved: ModelRecord, channels: int) -> nn.Module:
    if saved.architecture is None:
        raise ConfigError(
            f"{folder} holds the weights of a network in memory, which no name builds: load it in Python by"
            " dreamdistill.load(FOLDER, network=MODULE), with a module of that architecture"
        )
    return find_architecture(saved.architecture).build(saved.num_classes, channels)
