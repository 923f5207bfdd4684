"""Cost tables: the costs of a network and of its channels, in the unit that pruning saves."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..shared.models.cost import num_filters
from ..shared.structure.groups import ChannelGroup


class CostTable(Protocol):
    """The costs of one network as it is. When channels have been removed, a new table is needed.

    Costs are whole numbers of some unit; for a continuous quantity take a unit that is small enough to be counted.
    """

    @property
    @abstractmethod
    def total(self) -> int:
        """The cost of the whole network."""
        ...

    @abstractmethod
    def __call__(self, group: ChannelGroup) -> Tensor:
        """(C,) int64: for each channel of the group, the cost that is saved if it alone is removed."""
        ...


@dataclass(frozen=True, slots=True)
class FilterCosts(CostTable):
    """Costs in filters: outputs of 2-d convolutions, and of linear layers but the last one."""

    network: nn.Module

    @property
    def total(self) -> int:
        return num_filters(self.network)

    def __call__(self, group: ChannelGroup) -> Tensor:
        total_C = torch.zeros(group.num_channels, dtype=torch.int64)
        for member in group.members:
            if member.side == "out" and isinstance(self.network.get_submodule(member.layer), (nn.Conv2d, nn.Linear)):
                total_C += torch.bincount(torch.tensor(member.channels), minlength=group.num_channels)
        return total_C
