"""The shapes of a network's layers as it runs, from which their costs follow, before and after a cut."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models.dropped import is_part
from ..models.features import last_linear
from .hooked import Hooked
from .tracing import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShape:
    """A convolution, linear layer or BatchNorm and the map that it writes.

    Attributes:
        inputs, outputs: channels; equal for a BatchNorm.
        groups: of the convolution; each input is a group of its own where there are as many as inputs.
        kernel_size, stride, dilation: of the convolution.
        size: (H, W) of its output map; (tokens, 1) of a linear layer.
        biased: whether it has a bias.
        is_head: whether its outputs are logits.
    """

    kind: Literal["conv", "linear", "norm"]
    inputs: int
    outputs: int
    groups: int = 1
    kernel_size: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    size: tuple[int, int] = (1, 1)
    biased: bool = False
    is_head: bool = False

    @property
    def kernel(self) -> int:
        """How many numbers one output takes from one input."""
        return math.prod(self.kernel_size)

    @property
    def positions(self) -> int:
        """Pixels or tokens of its output."""
        return math.prod(self.size)

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.inputs > 1

    def without(self, inputs: int, outputs: int) -> LayerShape:
        """The same layer with so many channels fewer."""
        if self.kind == "norm":
            return replace(self, inputs=self.inputs - outputs, outputs=self.outputs - outputs)
        if self.is_depthwise:
            left = self.outputs - outputs
            groups = left * self.groups // self.outputs
            return replace(self, inputs=groups, groups=groups, outputs=left)
        return replace(self, inputs=self.inputs - inputs, outputs=self.outputs - outputs)


@torch.no_grad()
def layer_shapes(network: nn.Module, example_NCHW: Tensor) -> dict[str, LayerShape]:
    """Layer -> its shape, of those that a forward pass runs, in the order of their first run.

    Args:
        example_NCHW: one image on the network's device. The network is put in eval mode.
    """
    shapes: dict[str, LayerShape] = {}
    head = last_linear(network)

    def look(name: str, module: nn.Module, inputs: Any, out: Tensor) -> None:
        if name in shapes:
            return
        if isinstance(module, nn.Conv2d):
            shapes[name] = LayerShape(
                kind="conv",
                inputs=module.in_channels,
                outputs=module.out_channels,
                groups=module.groups,
                kernel_size=module.kernel_size,
                stride=module.stride,
                dilation=module.dilation,
                size=(out.shape[-2], out.shape[-1]),
                biased=module.bias is not None,
            )
        elif isinstance(module, nn.Linear):
            shapes[name] = LayerShape(
                kind="linear",
                inputs=module.in_features,
                outputs=module.out_features,
                size=(out[0].numel() // out.shape[-1], 1),
                biased=module.bias is not None,
                is_head=module is head,
            )
        elif isinstance(module, _BatchNorm):
            count = module.num_features
            shapes[name] = LayerShape(
                kind="norm",
                inputs=count,
                outputs=count,
                size=(out[0].numel() // count, 1),
                biased=module.affine,
            )

    hooked = Hooked(network.eval())
    for name in hooked.modules:
        hooked.after(name, look)
    hooked.run(example_NCHW)
    return shapes


def shapes_after(
    shapes: Mapping[str, LayerShape], cuts: Mapping[tuple[str, Side], Collection[int]], dropped: Sequence[str] = ()
) -> dict[str, LayerShape]:
    """The shapes that are left without some channels and blocks.

    Args:
        cuts: (layer, side) -> the channels that go (:func:`~.surgery.cuts_of`).
        dropped: names of blocks.
    """
    return {
        name: shape.without(len(cuts.get((name, "in"), ())), len(cuts.get((name, "out"), ())))
        for name, shape in shapes.items()
        if not is_part(name, dropped)
    }
