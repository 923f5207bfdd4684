"""What can be removed from a network before any is: the groups that work, and the largest share that they allow."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..shared.core.errors import ConfigError
from ..shared.structure.groups import REFUSAL, ChannelGroup, find_groups
from ..shared.structure.separation import separate
from ..shared.structure.surgery import works_without
from .budget import CostTable

MIN_SHARE = 0.1  # of its first channels that every group keeps: a layer of one channel or two stops learning
FEWEST = 2  # that every group keeps: with one place left in each of its groups, a convolution would be a depthwise one
NAMED = 3  # groups that a sentence names


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningPlan:
    """How much of a network is to go, and what has to stay.

    Attributes:
        ratio: share of the cost to remove, above 0 and below 1.
        to_remove: that share in units of the cost.
        removable: the largest cost that could be removed.
        floors: name of each group that can be narrowed -> the channels that it keeps at least.
        left_out: names of the groups that the network does not work without.
    """

    ratio: float
    to_remove: int
    removable: int
    floors: Mapping[str, int]
    left_out: tuple[str, ...]

    def groups(self, network: nn.Module, example_NCHW: Tensor) -> list[ChannelGroup]:
        """The groups of the plan, in the network as it is now."""
        return [group for group in find_groups(network, example_NCHW) if group.name in self.floors]

    def remark(self) -> str | None:
        """A line for the user on what is left out; None if nothing is."""
        if not self.left_out:
            return None
        named = ", ".join(self.left_out[:NAMED]) + (", ..." if len(self.left_out) > NAMED else "")
        return (
            f"{len(self.left_out)} groups of channels stay whole, since the network does not work without a part of"
            f" them: {named}"
        )


def plan_pruning(
    network: nn.Module, ratio: float, *, make_costs: Callable[[nn.Module], CostTable], example_NCHW: Tensor
) -> PruningPlan:
    """Find out what can be removed. The network is left as it is.

    A stream, which several layers share, keeps half of the share that the ratio leaves to it: else the stages of a
    network of which little else can go would pay for all of it. Other groups keep :data:`MIN_SHARE`.

    Args:
        ratio: share of the cost to remove, above 0 and below 1.
        make_costs: the cost table of a network (:mod:`.budget`).
        example_NCHW: one image; only its shape matters.

    Raises:
        ConfigError: the architecture cannot be pruned, or not by this ratio; the largest one is named.
    """
    groups, left_out = _separate(network, find_groups(network, example_NCHW), example_NCHW)
    if not groups:
        raise ConfigError(REFUSAL.format(reason="its layers exchange channels in a way that cannot be traced"))
    table = make_costs(network)
    costs = {group.name: table(group).sort().values for group in groups}

    def removable(share: float) -> int:
        return sum(int(costs[g.name][: g.num_channels - floor(g, share)].sum()) for g in groups)

    tolerance = max(int(each.max()) for each in costs.values()) / 2
    if removable(ratio) < ratio * table.total - tolerance:
        percent = range(math.floor(100 * ratio), 0, -1)
        largest = next((n for n in percent if removable(n / 100) >= n / 100 * table.total), 0)
        if not largest:
            raise ConfigError(REFUSAL.format(reason="less than 1 % of its filters can be removed"))
        raise ConfigError(
            f"--ratio {ratio:g} is more than this architecture allows, since the others of its channels are tied to"
            f" layers of a kind that cannot be narrowed: --ratio {largest / 100:g} is the most that works"
        )
    return PruningPlan(
        ratio=ratio,
        to_remove=round(ratio * table.total),
        removable=removable(ratio),
        floors={group.name: floor(group, ratio) for group in groups},
        left_out=tuple(group.name for group in left_out),
    )


def floor(group: ChannelGroup, ratio: float) -> int:
    """The channels that a group of the whole network keeps at least."""
    share = max(MIN_SHARE, (1 - ratio) / 2) if group.is_stream else MIN_SHARE
    return min(group.num_channels, max(FEWEST, math.ceil(share * group.num_channels)))


def _separate(
    network: nn.Module, groups: Sequence[ChannelGroup], example_NCHW: Tensor
) -> tuple[list[ChannelGroup], list[ChannelGroup]]:
    """The groups of which a part can be removed, together, and those that break the network."""
    awake = _awake(network)

    def works(tried: Sequence[ChannelGroup]) -> bool:
        part = {group.name: range(0, group.num_channels, 3) for group in tried}
        return works_without(awake, tried, part, example_NCHW)

    return separate(groups, works)


@torch.no_grad()
def _awake(network: nn.Module) -> nn.Module:
    """A copy on the CPU in which no branch is asleep: scales near 0, with which many begin, would hide its mistakes."""
    copied = copy.deepcopy(network).cpu().eval()
    noise = torch.Generator().manual_seed(0)
    for name, parameter in copied.named_parameters():
        is_vector = parameter.numel() == max(parameter.shape, default=0)
        if is_vector and not name.endswith("bias") and float(parameter.abs().max()) < 1e-2:
            parameter.copy_(0.5 + torch.rand(parameter.shape, generator=noise))
    return copied
