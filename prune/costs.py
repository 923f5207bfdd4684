"""What a network costs after a cut, in the unit of a budget, foretold from the shapes of its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..shared.models.dropped import is_part
from ..shared.structure.groups import ChannelGroup
from ..shared.structure.layers import LayerShape, layer_shapes, shapes_after
from ..shared.structure.surgery import cuts_of
from .units import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCost:
    """The cost of a network and of what is left of it after a cut.

    Attributes:
        unit: in which it is counted.
        shapes: :func:`~dreamdistill.shared.structure.layers.layer_shapes` of the network.
        rest: the cost of all that is no layer, such as attention: it stays.
        scale: what the network costs, as a share of what its layers cost alone. Not 1 where the cost is measured: what
            is no layer, such as a sum, is taken to cost more or less as the layers do.
    """

    unit: Unit
    shapes: Mapping[str, LayerShape]
    rest: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, unit: Unit, network: nn.Module, example_NCHW: Tensor) -> NetworkCost:
        """The cost of a network, for images like this one."""
        found = cls(unit=unit, shapes=layer_shapes(network, example_NCHW))
        whole = unit.whole(network, example_NCHW)
        if unit.is_measured:
            return replace(found, scale=whole / found.total)
        return replace(found, rest=max(0.0, whole - found.total))

    @property
    def total(self) -> float:
        return self.rest + self._sum(self.shapes.values())

    def left(
        self,
        groups: Sequence[ChannelGroup],
        removed: Mapping[str, Sequence[int]],
        dropped: Sequence[str] = (),
    ) -> float:
        """The cost without some channels of these groups, and without some blocks."""
        return self.total - self.saved(groups, removed, dropped)

    def saved(
        self,
        groups: Sequence[ChannelGroup],
        removed: Mapping[str, Sequence[int]],
        dropped: Sequence[str] = (),
    ) -> float:
        """The cost of some channels of these groups, and of some blocks."""
        cuts = cuts_of([group for group in groups if group.name in removed], removed)
        touched = {layer for layer, _ in cuts} | {name for name in self.shapes if is_part(name, dropped)}
        before = {name: self.shapes[name] for name in touched if name in self.shapes}
        after = shapes_after(before, cuts, dropped)
        return self._sum(before.values()) - self._sum(after.values())

    def _sum(self, shapes: Iterable[LayerShape]) -> float:
        return self.scale * sum(map(self.unit.layer, shapes))
