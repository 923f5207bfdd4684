"""A network that has lost channels and blocks of another one, and what of that one it has kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..models.dropped import drop_blocks, dropped_blocks
from .groups import ChannelGroup
from .least_squares import fit_layers
from .observation import Observation
from .surgery import cut_channels, remove_channels, without_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class CutNetwork:
    """A network in eval mode, with weights of its own.

    Attributes:
        network: what is left.
        kept: layer -> its outputs that are left, as they are numbered in the whole network; other layers have all.
    """

    network: nn.Module
    kept: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, whole: nn.Module) -> CutNetwork:
        """A copy of the whole network."""
        return cls(network=copy.deepcopy(whole).eval().requires_grad_(False), kept={})

    def copy(self) -> CutNetwork:
        """The same with weights of its own."""
        return CutNetwork(network=copy.deepcopy(self.network), kept=self.kept)

    def without(
        self,
        groups: Sequence[ChannelGroup],
        removed: Mapping[str, Sequence[int]],
        dropped: Sequence[str],
        *,
        example_NCHW: Tensor | None = None,
    ) -> CutNetwork:
        """A copy without some channels and blocks.

        Args:
            groups: of this network.
            removed: name of each group -> its channels to remove.
            dropped: names of blocks.
            example_NCHW: one image, with which the result is checked; without one it is not.

        Raises:
            ConfigError: the result does not compute what it should.
        """
        network = copy.deepcopy(self.network)
        drop_blocks(network, dropped)
        groups = without_blocks(groups, dropped)
        if example_NCHW is None:
            kept = cut_channels(network, groups, removed)
        else:
            kept = remove_channels(network, groups, removed, example_NCHW)
        before = self.kept
        return CutNetwork(
            network=network,
            kept={
                **before,
                **{layer: [before[layer][i] for i in own] if layer in before else own for layer, own in kept.items()},
            },
        )

    def fit(self, whole: Observation) -> dict[str, float]:
        """Repair by least squares, in place (:mod:`~dreamdistill.shared.structure.least_squares`)."""
        return fit_layers(self.network, whole, self.kept, dropped_blocks(self.network))
