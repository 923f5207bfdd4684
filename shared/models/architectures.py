"""Networks by name: a name is a torchvision model (``resnet50``), ``timm/NAME``, one of :data:`~.networks.NETWORKS`, a
folder that :func:`~.checkpoints.save_model` wrote, or ``path/to/file.py:factory`` for a user's own network, which the
user (not data) may also call ``package.module:factory``.

A name may come from the user, or from data: a manifest or a saved model. Data may name what is registered, and a Python
file only if the user has named it before (:mod:`.named_files`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..core.errors import ConfigError
from ..core.places import MODEL_JSON, is_saved_model, is_shard_folder
from .architecture import Architecture, State
from .channels import apply_channel_config
from .checkpoints import MODEL_WEIGHTS, ModelRecord, check_weights_file, read_model_record
from .dropped import drop_blocks
from .libraries import own_architecture, timm_architecture, torchvision_architecture
from .named_files import read_source, source_from_data, split_name, split_users_name
from .networks import NETWORKS
from .state_dicts import read_weights, weight_shapes
from .user_files import user_architecture


def find_architecture(
    name: str, *, network: nn.Module | None = None, named_by: str | None = None, code: Sequence[Path] = ()
) -> Architecture:
    """The architecture of a name. It runs the Python file of the name, if it has one and that is allowed.

    Args:
        network: a module of the architecture, for a saved model whose architecture was a module in memory.
        named_by: the data that the name comes from, as messages call it; None if the user gives the name.
        code: Python files that data may name, wherever it says that they are.

    Raises:
        ConfigError: nothing has this name (the nearest one is named), its package is not installed, or it is a Python
            file that the user has not named.
    """
    is_folder = not _is_registered(name) and split_name(name) is None and os.path.isdir(name)
    if network is not None or is_folder:
        return _saved_model(Path(name), network, code)
    return _network(name, named_by, code)


def _network(name: str, named_by: str | None, code: Sequence[Path]) -> Architecture:
    """An architecture that is no saved model."""
    if name in NETWORKS:
        return own_architecture(name)
    if name.startswith("timm/"):
        return timm_architecture(name)
    found = split_name(name) if named_by is not None else split_users_name(name)
    if found is None and name.endswith(".py"):
        raise ConfigError(f"{name} names no function: write {name}:FUNCTION, with the one that makes the network")
    if found is None:
        return torchvision_architecture(name)
    path, factory = found
    if named_by is not None:
        return user_architecture(source_from_data(path, named_by=named_by, code=code), factory)
    source = read_source(path)
    source.remember()
    return user_architecture(source, factory)


def _is_registered(name: str) -> bool:
    return name in NETWORKS or name.startswith("timm/")


def _saved_model(folder: Path, network: nn.Module | None, code: Sequence[Path]) -> Architecture:
    if not is_saved_model(folder):
        what = f"holds no saved model: there is no {MODEL_JSON} in it"
        if is_shard_folder(folder):
            what = "is a shard folder, and no saved model: name one that di-distill, di-prune or di-extend wrote"
        raise ConfigError(f"{folder} {what}")
    saved = read_model_record(folder)
    check_weights_file(folder, saved)
    base = _base(folder, saved, code) if network is None else None

    def build(num_classes: int | None, channels: int) -> nn.Module:
        if num_classes not in (None, saved.num_classes):
            raise ConfigError(f"{folder} has {saved.num_classes} classes, not {num_classes}")
        built = network if base is None else base.build(saved.num_classes, channels)
        assert built is not None
        try:
            drop_blocks(built, saved.dropped)
            apply_channel_config(built, saved.channels, weight_shapes(folder / MODEL_WEIGHTS))
        except ValueError as error:
            raise ConfigError(f"{folder} was saved from another architecture: {error}") from error
        return built

    def pretrained(entry: str | None) -> State:
        if entry is not None:
            raise ConfigError(f"--weights {entry}: there is no such file")
        return read_weights(folder / MODEL_WEIGHTS)

    return Architecture(
        name=str(folder.resolve()),
        base=base.base if base is not None else saved.architecture,
        build=build,
        pretrained=pretrained,
        image_size=saved.image_size,
        mean=saved.mean,
        std=saved.std,
        class_names=saved.class_names,
        arrives_trained=base is not None and base.arrives_trained,
        saved=saved,
    )


def _base(folder: Path, saved: ModelRecord, code: Sequence[Path]) -> Architecture:
    """What builds a saved model, whole and in its first widths."""
    name, record = saved.architecture, folder / MODEL_JSON
    if name is None:
        raise ConfigError(
            f"{folder} holds the weights of a network in memory, which no name builds: load it in Python by"
            " dreamdistill.load(FOLDER, network=MODULE), with a module of that architecture"
        )
    if split_name(name) is None:
        if os.path.isdir(name) and not _is_registered(name):
            raise ConfigError(f"{record} names the folder {name!r} as its architecture: make the model again")
        # Checked before anything is allocated; a user's own network may have its outputs in several layers.
        shapes = weight_shapes(folder / MODEL_WEIGHTS).values()
        if not any(saved.num_classes in shape for shape in shapes if math.prod(shape)):
            raise ConfigError(f"{record} says {saved.num_classes} classes, and no layer of its weights has so many")
    return _network(name, str(record), code)
