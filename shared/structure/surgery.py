"""The removal of channels from a whole network, checked before the network is changed.

Without the channels, a copy of the network must compute what another copy computes with zeros in their place. This
finds whatever the tracer (:mod:`.groups`) misread.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..models.dropped import is_part
from ..models.networks import PadShortcut
from .groups import REFUSAL, ChannelGroup, cut_layer, weight_columns
from .tracing import Side

# Share of the largest logit by which the copies may differ. Sums of float32 in another order differ by far less, and a
# wrong channel makes a larger difference.
TOLERANCE = 1e-3


def remove_channels(
    network: nn.Module, groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]], example_NCHW: Tensor
) -> dict[str, list[int]]:
    """Remove channels from all layers of their groups, in place.

    Parameters of the narrower layers are new objects: optimizers must be made again, and groups found again.

    Args:
        groups: :func:`~.groups.find_groups` of this network as it is now.
        chosen: name of each group -> its channels to remove, fewer than it has.
        example_NCHW: one image; its values do not matter.

    Returns:
        See :func:`cut_channels`.

    Raises:
        ConfigError: the narrower network does not compute what this one computes with zeros in place of the channels,
            so the tracer misread the architecture. The network is left as it was.
    """
    if not works_without(network, groups, chosen, example_NCHW):
        raise ConfigError(REFUSAL.format(reason="its layers exchange channels in a way that cannot be traced"))
    return cut_channels(network, groups, chosen)


def works_without(
    network: nn.Module, groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]], example_NCHW: Tensor
) -> bool:
    """Whether :func:`remove_channels` would remove these channels. The network is left as it is."""
    # On the CPU, where no TensorFloat-32 hides a difference.
    whole = copy.deepcopy(network).cpu() if any(p.device.type != "cpu" for p in network.parameters()) else network
    narrow, masked = sharing_copy(whole), sharing_copy(whole)
    cut_channels(narrow, groups, chosen)
    for (layer, side), indices in cuts_of(groups, chosen).items():
        if side == "in":
            _mask(masked.get_submodule(layer), sorted(indices))
    return agree(narrow, masked, example_NCHW)


def cut_channels(
    network: nn.Module, groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """Remove channels in place, as :func:`remove_channels` does, and check nothing.

    Returns:
        Convolution or linear layer that has lost outputs -> those that it kept, as they were numbered before.
    """
    kept: dict[str, list[int]] = {}
    # Outputs first: without some of its inputs, a grouped convolution may look like a depthwise one.
    for (layer, side), indices in sorted(cuts_of(groups, chosen).items(), key=lambda cut: cut[0][1] == "in"):
        module = network.get_submodule(layer)
        if side == "out" and isinstance(module, (nn.Conv2d, nn.Linear)):
            kept[layer] = sorted(set(range(len(module.weight))) - indices)
        cut_layer(module, side, sorted(indices))
    return kept


def sharing_copy(network: nn.Module) -> nn.Module:
    """A copy in eval mode that shares its tensors with the network. They are replaced in it, and not changed."""
    tensors = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    return copy.deepcopy(network, tensors).eval()


def without_blocks(groups: Sequence[ChannelGroup], dropped: Sequence[str]) -> list[ChannelGroup]:
    """The groups as they are in a network without some blocks: without these blocks' layers."""
    left = [
        replace(group, members=tuple(m for m in group.members if not is_part(m.layer, dropped))) for group in groups
    ]
    return [group for group in left if group.members]


def cuts_of(groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]]) -> dict[tuple[str, Side], set[int]]:
    """(layer, side) -> its channels to remove, numbered as before the removal."""
    cuts: dict[tuple[str, Side], set[int]] = {}
    for group in groups:
        removed = set(chosen.get(group.name, ()))
        for member in group.members:
            indices = {i for i, channel in zip(member.indices, member.channels, strict=True) if channel in removed}
            if indices:
                cuts.setdefault((member.layer, member.side), set()).update(indices)
    return cuts


@torch.no_grad()
def _mask(module: nn.Module, indices: Sequence[int]) -> None:
    """Make a layer read zeros from these inputs."""
    if isinstance(module, PadShortcut):
        module.source = module.source.masked_fill(torch.isin(module.source, torch.tensor(indices)), -1)
    elif isinstance(module, (nn.Conv2d, nn.Linear)):
        weight = module.weight.detach().clone()
        weight[:, weight_columns(module, indices)] = 0
        module.weight = nn.Parameter(weight, requires_grad=False)


@torch.no_grad()
def agree(smaller: nn.Module, masked: nn.Module, example_NCHW: Tensor) -> bool:
    """Whether two networks give the same logits for an image of noise, and the first one works at all."""
    noise = torch.Generator().manual_seed(0)
    image_NCHW = torch.randn(example_NCHW.shape, generator=noise, dtype=example_NCHW.dtype)
    try:
        found_NK = smaller(image_NCHW)
    except Exception:  # shapes that do not fit each other, or the network's own checks
        return False
    expected_NK = masked(image_NCHW)
    difference_NK = found_NK - expected_NK
    return bool(difference_NK.abs().max() <= TOLERANCE * expected_NK.abs().max())
