"""What can be removed from a network before any is: the parts that work, and the least that can be left."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..shared.core.errors import ConfigError, listed
from ..shared.structure.blocks import find_blocks
from ..shared.structure.groups import REFUSAL, ChannelGroup, find_groups
from ..shared.structure.separation import separate
from ..shared.structure.surgery import works_without
from .config import UNITS, Budget
from .costs import NetworkCost
from .patterns import Patterns
from .selection import least_left, narrowings
from .units import COUNTED, Unit

MIN_SHARE = 0.1  # of its first channels that every group keeps: a layer of one channel or two stops learning
FEWEST = 2  # that every group keeps: with one place left in each of its groups, a convolution would be a depthwise one
FAR = 0.1  # difference of the layers' times from the network's of which the user is told


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningPlan:
    """How much of a network is to go, and what has to stay.

    Attributes:
        budget: what may be left.
        unit: that it counts.
        scale: of the network's cost (:class:`~.costs.NetworkCost`).
        total, target, least: the cost of the whole network, what may be left of it, and the least that can be.
        floors: name of each group that can be narrowed -> the channels that it keeps at least.
        round_to: narrowed layers have a multiple of this many channels.
        blocks: names of the residual blocks that can go, in the order of execution.
        left_out: names of the groups that the network does not work without.
        found: all groups of the whole network, also those that stay.
    """

    budget: Budget
    unit: Unit
    scale: float
    total: float
    target: float
    least: float
    floors: Mapping[str, int]
    round_to: int
    blocks: tuple[str, ...]
    left_out: tuple[str, ...]
    found: tuple[ChannelGroup, ...]

    def groups(self, network: nn.Module, example_NCHW: Tensor) -> list[ChannelGroup]:
        """The groups of the plan, in the network as it is now."""
        if not self.floors:
            return []
        return [group for group in find_groups(network, example_NCHW) if group.name in self.floors]

    def remarks(self) -> list[str]:
        """Lines for the user: what is left out, and how far the layers' times are from the network's."""
        lines: list[str] = []
        if self.left_out:
            lines.append(
                f"{len(self.left_out)} groups of channels stay whole, since the network does not work without a part of"
                f" them: {listed(self.left_out)}"
            )
        if abs(1 / self.scale - 1) > FAR:
            lines.append(
                f"the layers alone take {1 / self.scale:.0%} of the network's {self.total:.3g} ms: what is left is"
                " measured after each choice, and the choice made again until it fits"
            )
        return lines


def plan_pruning(
    network: nn.Module,
    budget: Budget,
    *,
    example_NCHW: Tensor,
    patterns: Patterns | None = None,
    unit: Unit | None = None,
    round_to: Sequence[int] = (1,),
) -> PruningPlan:
    """Find out what can be removed. The network is left as it is.

    A stream, which several layers share, keeps half of the share that the budget leaves: else the stages of a network
    of which little else can go would pay for all of it. Other groups keep :data:`MIN_SHARE`.

    Args:
        example_NCHW: one image; only its shape matters.
        patterns: the layers that may be narrowed, or go; all without them.
        unit: what the budget counts, where that is measured.
        round_to: narrowed layers have a multiple of so many channels: of the first of these with which the budget can
            be reached. In narrow layers a large one leaves no width to choose.

    Raises:
        ConfigError: the architecture cannot be pruned, or not to this budget; the least that works is named.
    """
    patterns, unit = patterns or Patterns(), unit or COUNTED[budget.option]
    patterns.check(network)
    blocks = [each.name for each in find_blocks(network, example_NCHW) if patterns.allow_block(each.name, network)]
    found, left_out = _groups(network, example_NCHW, needed=not blocks)
    groups = [group for group in found if patterns.allow_group(group, network)]
    if not groups and not blocks:
        refusal = patterns.refusal(found, network)
        raise ConfigError(refusal or REFUSAL.format(reason="nothing is left that may go"))
    cost = NetworkCost.of(unit, network, example_NCHW)

    def floors(left: float, multiple: int) -> dict[str, int]:
        most = {group.name: narrowings(group, floor(group, left), multiple)[-1] for group in groups}
        return {group.name: group.num_channels - most[group.name] for group in groups}

    def reached(left: float, multiple: int) -> bool:
        return least_left(groups, blocks, cost, floors(left, multiple)) <= left * cost.total

    multiple = next((each for each in round_to if reached(budget.left, each)), None)
    if multiple is None:
        multiple = round_to[-1]
        percent = range(math.ceil(100 * budget.left), 100)
        enough = next((n / 100 for n in percent if reached(n / 100, multiple)), None)
        if enough is None:
            raise ConfigError(REFUSAL.format(reason=f"less than 1 % of its {UNITS[budget.option]} can be removed"))
        rounded = f" to a multiple of {multiple} channels" if multiple > 1 else ""
        raise ConfigError(
            f"{budget} is more than this network allows, since other channels are tied to layers that cannot be"
            f" narrowed{rounded}{patterns.remark()}: {replace(budget, left=enough)} is the most that works"
        )
    found_floors = floors(budget.left, multiple)
    return PruningPlan(
        budget=budget,
        unit=unit,
        scale=cost.scale,
        total=cost.total,
        target=budget.left * cost.total,
        least=least_left(groups, blocks, cost, found_floors),
        floors=found_floors,
        round_to=multiple,
        blocks=tuple(blocks),
        left_out=tuple(group.name for group in left_out),
        found=(*found, *left_out),
    )


def floor(group: ChannelGroup, left: float) -> int:
    """The channels that a group of the whole network keeps at least.

    Args:
        left: the share of the cost that is left.
    """
    share = max(MIN_SHARE, left / 2) if group.is_stream else MIN_SHARE
    return min(group.num_channels, max(FEWEST, math.ceil(share * group.num_channels)))


def _groups(network: nn.Module, example_NCHW: Tensor, *, needed: bool) -> tuple[list[ChannelGroup], list[ChannelGroup]]:
    """The groups of which a part can be removed, together, and those that break the network.

    Args:
        needed: whether a network without such groups is an error.
    """
    try:
        groups = find_groups(network, example_NCHW)
    except ConfigError:
        if needed:
            raise
        return [], []
    awake = _awake(network)

    def works(tried: Sequence[ChannelGroup]) -> bool:
        part = {group.name: range(0, group.num_channels, 3) for group in tried}
        return works_without(awake, tried, part, example_NCHW)

    good, bad = separate(groups, works)
    if needed and not good:
        raise ConfigError(REFUSAL.format(reason="its layers exchange channels in a way that cannot be traced"))
    return good, bad


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
