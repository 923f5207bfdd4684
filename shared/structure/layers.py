"""The shapes of a network's layers as it runs, from which their costs follow, before and after a cut."""

from __future__ import annotations

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
        kernel: numbers that one output takes from one input.
        positions: of its output: pixels, or tokens of a linear layer.
        biased: whether it has a bias.
        is_head: whether its outputs are logits.
    """

    kind: Literal["conv", "linear", "norm"]
    inputs: int
    outputs: int
    groups: int = 1
    kernel: int = 1
    positions: int = 1
    biased: bool = False
    is_head: bool = False

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
                kernel=module.kernel_size[0] * module.kernel_size[1],
                positions=out.shape[-1] * out.shape[-2],
                biased=module.bias is not None,
            )
        elif isinstance(module, nn.Linear):
            shapes[name] = LayerShape(
                kind="linear",
                inputs=module.in_features,
                outputs=module.out_features,
                positions=out[0].numel() // out.shape[-1],
                biased=module.bias is not None,
                is_head=module is head,
            )
        elif isinstance(module, _BatchNorm):
            count = module.num_features
            shapes[name] = LayerShape(
                kind="norm",
                inputs=count,
                outputs=count,
                positions=out[0].numel() // count,
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
