"""A network that can be built: what each kind of name comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .checkpoints import ModelRecord
from .state_dicts import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How to build a network, what its input looks like, and where its weights come from.

    Attributes:
        name: the name, with paths made absolute: it must mean the same from another folder.
        build: number of classes (None: the architecture's own) and input channels -> a network.
        pretrained: name of a weights entry (None: the best there is) -> its state, or None if what ``build`` returned
            holds its weights already. Raises ConfigError where there are none.
        image_size, mean, std: the usual input; mean and std are None where they are unknown.
        class_names: one for each class, or empty.
        base: the name that builds it whole and in its first widths. A saved model's differs from its own
            name, and is None for a module that was given in memory.
        arrives_trained: whether ``build`` may return trained weights (a user's factory).
        saved: the record of a saved model, which its weights must agree with; None for another name.
        trained: the variant that trained weights are for, where it is another than what students start from.
        auxiliary: how the keys of weights begin that the network has no use for.
    """

    name: str
    build: Callable[[int | None, int], nn.Module]
    pretrained: Callable[[str | None], State | None]
    image_size: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    base: str | None
    arrives_trained: bool = False
    saved: ModelRecord | None = None
    trained: Architecture | None = None
    auxiliary: tuple[str, ...] = ()

    def network(self, num_classes: int | None, channels: int, *, seed: int) -> nn.Module:
        """What ``build`` returns, with first weights that follow from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(num_classes, channels)


def timm_input(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """image_size, mean and std of a ``pretrained_cfg``, as timm writes it."""
    return {
        "image_size": int(cfg.get("input_size", (3, 224, 224))[-1]),
        "mean": tuple(cfg["mean"]) if "mean" in cfg else None,
        "std": tuple(cfg["std"]) if "std" in cfg else None,
    }
