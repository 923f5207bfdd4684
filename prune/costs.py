"""What a layer costs, in each unit that pruning may save, and what a network costs after a cut."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from ..shared.models.cost import count_macs, num_filters, num_parameters
from ..shared.models.dropped import is_part
from ..shared.structure.groups import ChannelGroup
from ..shared.structure.layers import LayerShape, layer_shapes, shapes_after
from ..shared.structure.surgery import cuts_of


class LayerCost(Protocol):
    """The cost of one layer, whatever its widths are."""

    @abstractmethod
    def __call__(self, layer: LayerShape) -> float:
        """0 or more."""
        ...


def filters(layer: LayerShape) -> float:
    """Outputs of convolutions, and of linear layers but the last one."""
    return 0 if layer.kind == "norm" or layer.is_head else layer.outputs


def macs(layer: LayerShape) -> float:
    """Multiply-adds of one image."""
    return 0 if layer.kind == "norm" else layer.inputs // layer.groups * layer.outputs * layer.kernel * layer.positions


def parameters(layer: LayerShape) -> float:
    """Weights and biases."""
    weights = layer.outputs if layer.kind == "norm" and layer.biased else 0
    if layer.kind != "norm":
        weights = layer.inputs // layer.groups * layer.outputs * layer.kernel
    return weights + layer.outputs * layer.biased


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCost:
    """The cost of a network and of what is left of it after a cut.

    Attributes:
        shapes: :func:`~dreamdistill.shared.structure.layers.layer_shapes` of the network.
        rest: the cost of all that is no layer, such as attention: it stays.
    """

    shapes: Mapping[str, LayerShape]
    layer: LayerCost
    rest: float = 0.0

    @classmethod
    def of(cls, name: str, network: nn.Module, example_NCHW: Tensor) -> NetworkCost:
        """The cost in ``filters``, ``macs`` or ``parameters``."""
        shapes, layer = (
            layer_shapes(network, example_NCHW),
            {"ratio": filters, "macs": macs, "params": parameters}[name],
        )
        found = cls(shapes=shapes, layer=layer)
        whole = {
            "ratio": lambda: num_filters(network),
            "macs": lambda: count_macs(network, example_NCHW),
            "params": lambda: num_parameters(network),
        }[name]()
        return cls(shapes=shapes, layer=layer, rest=max(0.0, whole - found.total))

    @property
    def total(self) -> float:
        return self.rest + sum(self.layer(shape) for shape in self.shapes.values())

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
        return sum(map(self.layer, before.values())) - sum(map(self.layer, after.values()))
