"""What a budget counts: filters, multiply-adds, parameters, or milliseconds that are measured."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from ..shared.models.compiling import compiled_networks
from ..shared.models.cost import count_macs, num_filters, num_parameters, paired_latency_ms
from ..shared.structure.layers import LayerShape
from .config import Budget

TIMED = 0.02  # seconds that a layer runs again and again, at least


class Unit(Protocol):
    """What a network costs.

    Attributes:
        is_measured: whether the clock says what it costs, so that the sum over its layers is an estimate.
    """

    is_measured: bool

    @abstractmethod
    def layer(self, layer: LayerShape) -> float:
        """The cost of one layer, 0 or more, whatever its widths are."""
        ...

    @abstractmethod
    def whole(self, network: nn.Module, example_NCHW: Tensor) -> float:
        """The cost of a network, for images like this one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Unit):
    """A cost that follows from shapes: the layers' sum and a rest that stays is exact.

    Attributes:
        of_layer, of_network: see :class:`Unit`.
    """

    of_layer: Callable[[LayerShape], float]
    of_network: Callable[[nn.Module, Tensor], float]
    is_measured: bool = field(default=False, init=False)

    def layer(self, layer: LayerShape) -> float:
        return self.of_layer(layer)

    def whole(self, network: nn.Module, example_NCHW: Tensor) -> float:
        return self.of_network(network, example_NCHW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(Unit):
    """Milliseconds of a forward pass in eval mode. Each shape of a layer is timed once, when it is first asked for.

    Attributes:
        batch: images in a pass.
        device: that computes it.
        compiled: whether networks are compiled first. Layers alone are not, since each of hundreds would take seconds.
    """

    batch: int
    device: torch.device
    compiled: bool = False
    is_measured: bool = field(default=True, init=False)
    _known: dict[LayerShape, float] = field(default_factory=dict, init=False, repr=False)

    def layer(self, layer: LayerShape) -> float:
        layer = replace(layer, biased=True, is_head=False)  # neither makes a difference
        if layer not in self._known:
            self._known[layer] = self._measured(layer)
        return self._known[layer]

    def whole(self, network: nn.Module, example_NCHW: Tensor) -> float:
        return self.of_networks([network], example_NCHW)[0]

    def share(self, network: nn.Module, whole: nn.Module, example_NCHW: Tensor) -> float:
        """What a network takes of another one's time. Both are measured in turn."""
        smaller, larger = self.of_networks([network, whole], example_NCHW)
        return smaller / larger

    def of_networks(self, networks: Sequence[nn.Module], example_NCHW: Tensor) -> list[float]:
        """What each network takes, for images like this one. All are measured in turn."""
        return paired_latency_ms(self.runnable(networks), self.images(example_NCHW))

    def runnable(self, networks: Sequence[nn.Module]) -> Sequence[Callable[[Tensor], object]]:
        """The networks' forward passes as they are timed."""
        if not self.compiled:
            return networks
        return compiled_networks(networks, self.device, lambda line: print(f"prune: {line}", file=sys.stderr))

    def images(self, example_NCHW: Tensor) -> Tensor:
        return example_NCHW.expand(self.batch, -1, -1, -1).contiguous()

    @torch.no_grad()
    def _measured(self, layer: LayerShape) -> float:
        module, shape = build(layer)
        scope = {
            "module": module.to(self.device).eval(),
            "x": torch.randn(self.batch, *shape, device=self.device),
        }
        timer = Timer("module(x)", globals=scope, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=TIMED).median * 1e3


def unit_of(budget: Budget, clock: Latency) -> Unit:
    """What a budget counts.

    Args:
        clock: measures it where that is time.
    """
    return clock if budget.option == "latency" else COUNTED[budget.option]


def _filters(layer: LayerShape) -> float:
    return 0 if layer.kind == "norm" or layer.is_head else layer.outputs


def _macs(layer: LayerShape) -> float:
    return 0 if layer.kind == "norm" else layer.inputs // layer.groups * layer.outputs * layer.kernel * layer.positions


def _parameters(layer: LayerShape) -> float:
    weights = layer.outputs if layer.kind == "norm" and layer.biased else 0
    if layer.kind != "norm":
        weights = layer.inputs // layer.groups * layer.outputs * layer.kernel
    return weights + layer.outputs * layer.biased


# By the option that gives the budget.
COUNTED = {
    "ratio": Counted(of_layer=_filters, of_network=lambda network, _: num_filters(network)),
    "macs": Counted(of_layer=_macs, of_network=count_macs),
    "params": Counted(of_layer=_parameters, of_network=lambda network, _: num_parameters(network)),
}


def build(layer: LayerShape) -> tuple[nn.Module, tuple[int, ...]]:
    """A layer of this shape, and the shape of one input. A BatchNorm has a ReLU behind it, as most have."""
    if layer.kind == "norm":
        return nn.Sequential(nn.BatchNorm2d(layer.outputs), nn.ReLU()), (layer.outputs, *layer.size)
    if layer.kind == "linear":
        tokens = layer.size[0]
        return nn.Linear(layer.inputs, layer.outputs), (tokens, layer.inputs) if tokens > 1 else (layer.inputs,)
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    padding = [span // 2 for span in spans]
    sides = [
        (out - 1) * stride + 1 + span - 2 * pad
        for out, stride, span, pad in zip(layer.size, layer.stride, spans, padding, strict=True)
    ]
    convolution = nn.Conv2d(
        layer.inputs,
        layer.outputs,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=tuple(padding),  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
    )
    return convolution, (layer.inputs, *sides)
