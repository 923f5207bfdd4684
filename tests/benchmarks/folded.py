"""The folded form: without BatchNorm layers, their statistics matched at the convolution's output. An experiment.

With y = gamma (x - mean) / sqrt(var + eps) + beta, the layer's input x is (y - beta) sqrt(var + eps) / gamma + mean. So
the same distance follows from y, and the network needs no BatchNorm. A layer that follows no convolution, or has a
gamma near 0, keeps its tap.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamdistill.invert.objective import Objective
from dreamdistill.invert.priors import statistics_distance
from dreamdistill.invert.recipe import Recipe
from dreamdistill.invert.taps import Tap, TappedNetwork

SMALL = 1e-3  # of the largest gamma of a layer: below it the division loses the input


class _FoldedConv(nn.Module):
    """Convolution and BatchNorm in one, which also measures the distance of the BatchNorm layer's input."""

    scale: Tensor
    beta: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, conv: nn.Conv2d, layer: nn.BatchNorm2d, distances: list[Tensor]) -> None:
        super().__init__()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.conv = fuse_conv_bn_eval(conv, layer).to(memory_format=torch.channels_last)
        self.distances = distances
        self.register_buffer("scale", ((layer.running_var + layer.eps).sqrt() / layer.weight).detach()[:, None, None])
        self.register_buffer("beta", layer.bias.detach()[:, None, None])
        self.register_buffer("mean", torch.zeros_like(layer.running_mean))
        self.register_buffer("var", layer.running_var)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.distances.append(statistics_distance((y.to(self.var.dtype) - self.beta) * self.scale, self.mean, self.var))
        return y


def folded_objective(recipe: Recipe, network: nn.Module, precision: str = "float32") -> tuple[Objective, int]:
    """The objective in the folded form, and the number of layers that were folded."""
    objective = Objective(recipe, network, precision=precision)
    tapped = objective.network
    assert isinstance(tapped, TappedNetwork)
    tracer = fx.Tracer()
    tracer.is_leaf_module = lambda m, module_qualified_name: isinstance(m, Tap | nn.Conv2d)  # type: ignore[method-assign]
    nodes = tracer.trace(tapped.network).nodes
    modules = dict(tapped.network.named_modules())
    folded = 0
    for node in nodes:
        tap = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(tap, Tap) or type(tap.layer) is not nn.BatchNorm2d:
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        conv, layer = modules[str(before.target)], tap.layer
        if not isinstance(conv, nn.Conv2d) or layer.weight.abs().min() < SMALL * layer.weight.abs().max():
            continue
        tapped.network.set_submodule(str(before.target), _FoldedConv(conv, layer, tap.results[0]))
        tapped.network.set_submodule(str(node.target), nn.Identity())
        folded += 1
    return objective, folded
