"""Weights between those that a training began with and those that it ended with.

Training on few images of many classes makes a network better at what they show and worse at the rest. Weights between
its first and its last are then better than both (Wortsman et al., CVPR 2022). How far to go is found without a real
image: where the network answers most as its teacher does for images upside down, which no view in a training shows.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from .criterion import distillation_loss
from .distributed import ALONE, Group
from .labeller import soften

SHARES = 1.0, 0.75, 0.5, 0.25, 0.0  # of the way from the first weights to the last
BATCH = 32

State = dict[str, Tensor]


class FirstWeights:
    """The weights that a training began with, and statistics of BatchNorms. Its checkpoint keeps them."""

    def __init__(self, network: nn.Module) -> None:
        self._state = _copied(network)

    def state_dict(self) -> State:
        return self._state

    def load_state_dict(self, state: State) -> None:
        self._state = state

    def settle(
        self, network: nn.Module, teacher: nn.Module, x_NCHW: Tensor, *, title: str, group: Group = ALONE
    ) -> None:
        """Give the trained network the best weights between these and its own, in place. If they are not its own, a
        line on stderr says so.

        Args:
            network, teacher: in eval mode.
            x_NCHW: network input.
            title: of the training, ahead of the line.
            group: the processes that have this network; the first decides for all.
        """
        last = _copied(network)
        share = group.from_first(self._best_share(network, last, teacher, x_NCHW) if group.is_first else 1.0)
        self._move(network, last, share)
        if share < 1 and group.is_first:
            print(
                f"{title}: the weights are those at {share:.0%} of the way from the first to the last (--interpolate)",
                file=sys.stderr,
            )

    @torch.no_grad()
    def _best_share(self, network: nn.Module, last: State, teacher: nn.Module, x_NCHW: Tensor) -> float:
        """The one of :data:`SHARES` at which ``KL(p_teacher || p_network)`` is least for the images upside down."""
        upside_down = x_NCHW.flip(2).split(BATCH)
        wanted_NK = torch.cat([soften(teacher(part), 1) for part in upside_down])

        def distance(share: float) -> float:
            self._move(network, last, share)
            own_NK = torch.cat([network(part) for part in upside_down])
            return float(distillation_loss(own_NK, wanted_NK, 1).nan_to_num(nan=torch.inf))

        return min(SHARES, key=distance)

    @torch.no_grad()
    def _move(self, network: nn.Module, last: State, share: float) -> None:
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(self._state[name], last[name], share))


def _copied(network: nn.Module) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}
