"""Channels out of a network: which ones can only go together, and taking them away.

The one module that knows torch-pruning. It traces the network and follows a channel through additions,
concatenations, depthwise convolutions and flattening. What it finds is checked before the network is touched: without
the channels the network must compute what it computes with zeros where they were read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..shared.errors import ConfigError
from ..shared.networks import PadShortcut
from ..shared.widths import Widths, apply_widths, widths_of

MIN_SHARE = 0.1  # of its first channels that every layer keeps: a layer of one or two channels stops learning
TOLERANCE = 1e-3  # of the largest logit; float32 sums in another order differ by far less, a wrong channel by more
_REFUSAL = "this architecture cannot be pruned ({reason}); distil it into a smaller student with di-distill instead"
# Operations between layers that torch-pruning has as nodes: they have no width of their own.
_TRANSPARENT = frozenset({"CONCAT", "SPLIT", "ELEMENTWISE", "RESHAPE", "UNBIND", "EXPAND", "SLICE"})
_Cuts = dict[tuple[str, str], set[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one side of one layer loses with a group's channels.

    Attributes:
        layer: its name in the network.
        side: ``in`` or ``out``; ``out`` stands for both where a layer has as many inputs as outputs, one to one.
        indices: channels of that side of the layer, and
        channels: for each of them, the group's channel that it goes with.
        gated: whether the layer's gate counts in the group's score.
        filters: whether each index is a convolution filter.
    """

    layer: str
    side: Literal["in", "out"]
    indices: tuple[int, ...]
    channels: tuple[int, ...]
    gated: bool
    filters: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels 0..C-1, each of which leaves all the members at once.

    Attributes:
        name: the convolution that the channels are counted in; the same whenever the same network is traced.
    """

    name: str
    num_channels: int
    members: tuple[Member, ...]

    def scores(self, gate_scores: Mapping[str, Tensor]) -> Tensor:
        """(C,) float64: for each channel, the sum over the group's gates (:func:`~.importance.gate_scores`)."""
        total_C = torch.zeros(self.num_channels, dtype=torch.float64)
        for member in self.members:
            if member.gated:
                values = gate_scores[member.layer][list(member.indices)].double().cpu()
                total_C.index_add_(0, torch.tensor(member.channels), values)
        return total_C

    def filters(self) -> Tensor:
        """(C,) int64: for each channel, how many convolution filters go with it."""
        total_C = torch.zeros(self.num_channels, dtype=torch.int64)
        for member in self.members:
            if member.filters:
                total_C += torch.bincount(torch.tensor(member.channels), minlength=self.num_channels)
        return total_C


def find_groups(network: nn.Module, example_NCHW: Tensor) -> list[ChannelGroup]:
    """The groups of channels that can be removed, in the order of their first convolution.

    Left out are channels that the logits or the image are made of, and channels that any layer takes part in which
    a channel table cannot describe (:mod:`~dreamdistill.shared.widths`): ordinary grouped convolutions, LayerNorm,
    bare parameters.

    Args:
        example_NCHW: one image; only its shape matters.

    Raises:
        ConfigError: the network cannot be traced, or no channel can be removed.
    """
    traced = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    try:
        # Whatever goes wrong in the tracer means the same to the user.
        with torch.enable_grad():
            groups = list(_groups(traced, tuple(example_NCHW.shape)))
    except Exception as error:
        raise ConfigError(_REFUSAL.format(reason="its channels cannot be traced")) from error
    if not groups:
        raise ConfigError(_REFUSAL.format(reason="every channel is tied to a layer of a kind that cannot be narrowed"))
    return groups


def choose_channels(
    groups: Sequence[ChannelGroup], scores: Sequence[Tensor], num_filters: int, *, original: Widths
) -> dict[str, list[int]]:
    """The least important channels of all groups together that hold ``num_filters`` convolution filters.

    It stops where the number is nearest, so it is met within half of the last channel's filters, unless too few
    channels may go: a group keeps :data:`MIN_SHARE` of what its first convolution had in ``original``, and at least 1.

    Args:
        scores: for each group (C,), the lower the sooner removed.
        original: the channel table of the network before any pruning.

    Returns:
        Name of the group -> its channels to remove.
    """
    ranked = sorted(
        (score, index, channel)
        for index, group_scores in enumerate(scores)
        for channel, score in enumerate(group_scores.tolist())
    )
    filters = [group.filters().tolist() for group in groups]
    spare = [group.num_channels - max(1, math.ceil(MIN_SHARE * original[group.name][0])) for group in groups]
    chosen: dict[str, list[int]] = {}
    missing = num_filters
    for _, index, channel in ranked:
        if 2 * missing < filters[index][channel]:  # one more would end farther off
            break
        if spare[index] > 0:
            chosen.setdefault(groups[index].name, []).append(channel)
            spare[index] -= 1
            missing -= filters[index][channel]
    return chosen


def remove_channels(
    network: nn.Module, groups: Sequence[ChannelGroup], chosen: Mapping[str, Sequence[int]], example_NCHW: Tensor
) -> None:
    """Remove channels from all layers of their groups, in place. Parameters of the layers concerned are new objects:
    optimizers have to be made again, and groups found again.

    Args:
        groups: :func:`find_groups` of this network as it is now.
        chosen: name of a group -> channels that go; fewer than it has.
        example_NCHW: one image; only its shape matters.

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
    if not _agree(narrow, masked, tuple(example_NCHW.shape)):
        raise ConfigError(_REFUSAL.format(reason="its layers exchange channels in a way that cannot be traced"))
    apply_widths(network, widths_of(narrow))
    network.load_state_dict(narrow.state_dict())


def _groups(network: nn.Module, shape: tuple[int, ...]) -> Iterator[ChannelGroup]:
    # As a parameter the image is a node of the graph, so that what is added to it or concatenated with it is seen.
    image = nn.Parameter(torch.zeros(shape))
    graph = tp.DependencyGraph().build_dependency(
        network,
        example_inputs=(image,),
        unwrapped_parameters=[(image, 1)],  # type: ignore[arg-type]
        customized_pruners={PadShortcut: _PAD_SHORTCUT},
        verbose=False,
    )
    names = {module: name for name, module in network.named_modules()}
    grouped: dict[str, set[int]] = {}
    for module, name in names.items():
        if not isinstance(module, nn.Conv2d) or module not in graph.module2node:
            continue
        roots = [channel for channel in range(module.out_channels) if channel not in grouped.get(name, ())]
        if not roots:
            continue
        traced = graph.get_pruning_group(module, _pruner(module).prune_out_channels, roots)
        members = [_member(item, names, roots) for item in traced.items if item.dep.target.type.name not in _TRANSPARENT]
        for member in members:
            if member is not None and member.filters:
                grouped.setdefault(member.layer, set()).update(member.indices)
        whole = [member for member in members if member is not None]
        if len(whole) == len(members) and not any(_is_logits(item) for item in traced.items):
            yield ChannelGroup(name=name, num_channels=len(roots), members=tuple(whole))


