"""The weights that a network gets: from a file, from a library's entry, those that it brings itself, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..core.errors import ConfigError
from .architecture import Architecture
from .matching import match_weights
from .state_dicts import fit_weights, without_auxiliary
from .weights_files import is_weights_file, read_checkpoint

NO_WEIGHTS = "none"


Build = Callable[[], nn.Module]


def weights_file(weights: str | None) -> Path | None:
    """The file that a ``--weights`` value means; None if it means something else."""
    return Path(weights) if weights not in (None, NO_WEIGHTS) and is_weights_file(weights) else None


def load_weights(
    network: nn.Module, architecture: Architecture, weights: str | None, *, name: str, build: Build
) -> None:
    """Put weights into a network that the architecture has built, in place.

    Args:
        build: builds such a network again.
        weights: a file, the name of an entry, ``none``, or None for the best that there are.
        name: the network's, for messages.

    Raises:
        ConfigError: there are no such weights, they do not fit, or a user's own network comes untrained.
    """
    if weights == NO_WEIGHTS:
        return
    if file := weights_file(weights):
        state = match_weights(read_checkpoint(file), network, auxiliary=architecture.auxiliary, path=file, name=name)
    else:
        state = architecture.pretrained(weights)
    if state is not None:
        fit_weights(network, without_auxiliary(state, architecture.auxiliary), name=name)
    elif why := _why_untrained(network, build):
        raise ConfigError(
            f"{name} is not trained: {why}; give it weights by --weights FILE, or --weights none if it is meant to be"
            " random"
        )


def batchnorm_layers(network: nn.Module) -> dict[str, bool]:
    """Name of each layer with running statistics -> whether they are those of a new layer, which has seen no batch."""
    buffers = dict(network.named_buffers())
    found: dict[str, bool] = {}
    for key, mean in buffers.items():
        name, _, last = f".{key}".rpartition(".")
        variance = buffers.get(key.replace("running_mean", "running_var"))
        if last == "running_mean" and variance is not None:
            found[name[1:] or type(network).__name__] = not bool(mean.any()) and bool((variance == 1).all())
    return found


def _why_untrained(network: nn.Module, build: Build) -> str | None:
    """How a network that brings its own weights shows that they are random; None if it does not.

    Weights that it sets or reads are the same for two seeds, and leave the caller's random numbers in two states. Those
    that follow from a seed of its own are the same too, but leave one state. So does a network that sets a seed and
    then reads its weights: only new BatchNorm layers tell that it does not.
    """
    layers = batchnorm_layers(network)
    if not all(layers.values()):
        return None
    built = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built.append((build().state_dict(), torch.get_rng_state()))
    (one, after_one), (other, after_other) = built
    drawn = one.keys() != other.keys() or not all(torch.equal(one[key], other[key]) for key in one)
    if layers and (drawn or torch.equal(after_one, after_other)):
        return "its BatchNorm layers have seen no batch"
    return "its weights are other random numbers each time that it is built" if drawn else None
