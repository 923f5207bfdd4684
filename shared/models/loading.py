"""The weights that a network gets: from a file, from a library's entry, those that it brings itself, or none."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..core.errors import ConfigError
from .architecture import Architecture
from .matching import match_weights
from .state_dicts import fit_weights
from .weights_files import is_weights_file, read_checkpoint

NO_WEIGHTS = "none"


def weights_file(weights: str | None) -> Path | None:
    """The file that a ``--weights`` value means; None if it means something else."""
    return Path(weights) if weights not in (None, NO_WEIGHTS) and is_weights_file(weights) else None


def load_weights(network: nn.Module, architecture: Architecture, weights: str | None, *, name: str) -> None:
    """Put weights into a network that the architecture has built, in place.

    Args:
        weights: a file, the name of an entry, ``none``, or None for the best that there are.
        name: the network's, for messages.

    Raises:
        ConfigError: there are no such weights, they do not fit, or a user's own network comes untrained.
    """
    if weights == NO_WEIGHTS:
        return
    if file := weights_file(weights):
        state = match_weights(read_checkpoint(file), network, path=file, name=name)
    else:
        state = architecture.pretrained(weights)
    if state is not None:
        fit_weights(network, state, name=name)
    elif _has_seen_no_batch(network):
        raise ConfigError(
            f"{name} is not trained: its BatchNorm layers have seen no batch; give it weights by --weights FILE, or"
            " --weights none if it is meant to be random"
        )


def _has_seen_no_batch(network: nn.Module) -> bool:
    """Whether all running statistics, of which there are some, are as BatchNorm layers begin."""
    buffers = dict(network.named_buffers())
    means = [value for key, value in buffers.items() if key.endswith("running_mean")]
    variances = [value for key, value in buffers.items() if key.endswith("running_var")]
    return bool(means) and not any(map(torch.any, means)) and all(bool((value == 1).all()) for value in variances)
