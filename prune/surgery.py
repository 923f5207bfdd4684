"""Channels out of a network: which ones can only go together, and taking them away.

The one module that knows torch-pruning. It traces the network and follows a channel through additions,
concatenations, depthwise convolutions and flattening. What it finds is checked before the network is touched: without
the channels the network must compute what it computes with zeros where they were read.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..shared.core.errors import ConfigError
from ..shared.models.channels import apply_channel_config, channel_config
from ..shared.models.networks import PadShortcut
from .groups import REFUSAL, ChannelGroup, pruner_of

TOLERANCE = 1e-3  # of the largest logit; float32 sums in another order differ by far less, a wrong channel by more


def remove_channels(
    network: nn.Module, groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]], example_NCHW: Tensor
) -> None:
    """Remove channels from all layers of their groups, in place. Parameters of the layers concerned are new objects:
    optimizers have to be made again, and groups found again.

    Args:
        groups: :func:`find_groups` of this network as it is now.
        chosen: name of a group -> channels that go; fewer than it has.
        example_NCHW: one image; its values do not matter.

    Raises:
        ConfigError: the narrower network would not compute what this one does with zeros in place of the channels,
            so the tracer misread the architecture. The network is then as it was.
    """
    cuts = _cuts_of(groups, chosen)
    # On the CPU, where no TensorFloat-32 hides a difference.
    narrow = copy.deepcopy(network).cpu().eval()
    masked = copy.deepcopy(narrow)
    for (layer, side), indices in cuts.items():
        _cut(narrow.get_submodule(layer), side, sorted(indices))
        if side == "in":
            _mask(masked.get_submodule(layer), sorted(indices))
    if not _agree(narrow, masked, example_NCHW):
        raise ConfigError(REFUSAL.format(reason="its layers exchange channels in a way that cannot be traced"))
    apply_channel_config(network, channel_config(narrow))
    network.load_state_dict(narrow.state_dict())


def _cuts_of(groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]]) -> dict[tuple[str, str], set[int]]:
    """(layer, side) -> its channels to remove, all numbered as before any is gone."""
    cuts: dict[tuple[str, str], set[int]] = {}
    for group in groups:
        going = set(chosen.get(group.name, ()))
        for member in group.members:
            indices = {i for i, channel in zip(member.indices, member.channels, strict=True) if channel in going}
            if indices:
                cuts.setdefault((member.layer, member.side), set()).update(indices)
    return cuts


def _cut(module: nn.Module, side: str, indices: Sequence[int]) -> None:
    pruner = pruner_of(module)
    prune = pruner.prune_out_channels if side == "out" else pruner.prune_in_channels
    prune(module, indices)


@torch.no_grad()
def _mask(module: nn.Module, indices: Sequence[int]) -> None:
    """Make a layer read zeros from these inputs."""
    if isinstance(module, PadShortcut):
        module.source[torch.isin(module.source, torch.tensor(indices))] = -1
    elif isinstance(module, (nn.Conv2d, nn.Linear)):
        module.weight[:, indices] = 0


@torch.no_grad()
def _agree(narrow: nn.Module, masked: nn.Module, example_NCHW: Tensor) -> bool:
    noise = torch.Generator().manual_seed(0)
    image_NCHW = torch.randn(example_NCHW.shape, generator=noise, dtype=example_NCHW.dtype)
    expected_NK = masked(image_NCHW)
    try:
        difference_NK = narrow(image_NCHW) - expected_NK
    except RuntimeError:  # shapes that do not fit each other
        return False
    return bool(difference_NK.abs().max() <= TOLERANCE * expected_NK.abs().max())
