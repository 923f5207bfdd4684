"""Networks to be trained: with new weights, and checked before a training that would be lost at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..core.errors import ConfigError
from .architectures import find_architecture
from .checkpoints import safetensors_of
from .preprocessing import Preprocessing
from .probes import check_training_mode, count_outputs, probe_logits


def new_network(
    name: str,
    *,
    num_classes: int,
    preprocessing: Preprocessing,
    seed: int,
    named_by: str | None = None,
    code: Sequence[Path] = (),
) -> tuple[str | None, nn.Module]:
    """A network with new weights of the named architecture, and the name that builds it (``Architecture.base``).

    Raises:
        ConfigError: see :func:`~.architectures.find_architecture`, or it cannot take the teacher's images and classes.
    """
    architecture = find_architecture(name, named_by=named_by, code=code)
    network = architecture.network(num_classes, preprocessing.channels, seed=seed)
    if architecture.arrives_trained:
        draw_new_weights(network, seed)
    check_student(network, num_classes=num_classes, preprocessing=preprocessing, name=name)
    return architecture.base, network


def draw_new_weights(network: nn.Module, seed: int) -> None:
    """Let every layer of a network on the CPU draw its first weights again, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]


def check_student(network: nn.Module, *, num_classes: int, preprocessing: Preprocessing, name: str) -> None:
    """Refuse a student that cannot take its teacher's images, be trained, or be saved. Puts it in eval mode.

    Raises:
        ConfigError: it cannot.
    """
    outputs = count_outputs(network.eval(), preprocessing, name)
    if outputs != num_classes:
        raise ConfigError(f"student {name} has {outputs} classes and the teacher {num_classes}")
    check_trainable(network, preprocessing, title=f"student {name}")


def check_trainable(network: nn.Module, preprocessing: Preprocessing, *, title: str) -> None:
    """Refuse a network that cannot be trained as a classifier, or not be saved then: the training would be lost.

    Raises:
        ConfigError: it cannot.
    """
    probe_logits(network, preprocessing, title=title)
    safetensors_of(network, title=title)
    check_training_mode(network, preprocessing, title=title)
