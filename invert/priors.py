"""Taps: how far a batch's feature statistics are from those that the teacher was trained on, and its last features."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..shared.core.numerics import at_least_float32
from ..shared.models.features import batchnorm_layers, classifier


class _StatisticsDistance(torch.autograd.Function):
    """The distance with its analytic gradient; see :func:`statistics_distance`.

    Both moments are taken of x - running_mean: one pass, and stable, since the mean of a trained network's features is
    never far from it. The gradient is linear in x,

        d/dx = (mean - running_mean) / (n |mean - running_mean|)
             + 2 (var - running_var) (x - mean) / (n |var - running_var|),

    so slope and offset of each channel, found in the forward pass, are all that the backward pass needs beside x, which
    the compiler then reads once, together with the BatchNorm layer's own gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, running_mean_C: Tensor, running_var_C: Tensor, mean_unit: float, var_unit: float
    ) -> Tensor:
        count = x.numel() // x.shape[1]
        centred = at_least_float32(x) - _as_channels(running_mean_C, x)
        mean_C = _sum_but_channels(centred) / count
        var_C = _sum_but_channels(centred * centred) / count - mean_C * mean_C
        by_var_C = var_C - running_var_C
        mean_norm, var_norm = torch.linalg.vector_norm(mean_C), torch.linalg.vector_norm(by_var_C)
        tiny = torch.finfo(mean_norm.dtype).tiny  # a norm of 0 has no gradient
        slope_C = 2 * by_var_C / (var_unit * count * var_norm.clamp_min(tiny))
        offset_C = mean_C / (mean_unit * count * mean_norm.clamp_min(tiny)) - slope_C * (mean_C + running_mean_C)
        ctx.save_for_backward(x, slope_C, offset_C)
        return mean_norm / mean_unit + var_norm / var_unit

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, slope_C, offset_C = ctx.saved_tensors
        slope_C, offset_C = gradients[0] * slope_C, gradients[0] * offset_C
        return torch.addcmul(_as_channels(offset_C, x), x, _as_channels(slope_C, x)).to(x.dtype), *[None] * 4


def statistics_distance(
    x: Tensor, running_mean_C: Tensor, running_var_C: Tensor, *, mean_unit: float = 1.0, var_unit: float = 1.0
) -> Tensor:
    """One layer's term of R_feature: ``||mean(x) - running_mean||_2 + ||var(x) - running_var||_2`` (a scalar).

    Mean and biased variance run over all but the channels (Yin et al. 2020, eq. 4). ``x`` is the layer's input,
    (N, C, ...); statistics are float32 where ``x`` is a half format.

    Args:
        mean_unit, var_unit: what the two distances are divided by.
    """
    return _StatisticsDistance.apply(x, running_mean_C, running_var_C, mean_unit, var_unit)  # type: ignore[no-any-return]


def _as_channels(values_C: Tensor, x: Tensor) -> Tensor:
    return values_C.view(-1, *[1] * (x.ndim - 2))


def _sum_but_channels(x: Tensor) -> Tensor:
    """(C,) sums. Pixels before images: sums of sums lose fewer digits, and the compiler turns them into plain loops."""
    return (x.sum(tuple(range(2, x.ndim))) if x.ndim > 2 else x).sum(0)


class _Tap(nn.Module):
    """Stands in a BatchNorm layer's place: measures what comes in, then lets the layer do its work."""

    def __init__(self, layer: _BatchNorm, distances: list[Tensor], *, relative: bool) -> None:
        super().__init__()
        self.layer = layer
        self.distances = distances
        self.mean_unit = self.var_unit = 1.0
        if relative:
            assert layer.running_var is not None
            tiny = torch.finfo(torch.float32).tiny
            self.mean_unit = max(tiny, float(layer.running_var.sum().sqrt()))
            self.var_unit = max(tiny, float(torch.linalg.vector_norm(layer.running_var)))

    def forward(self, x: Tensor) -> Tensor:
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        self.distances.append(
            statistics_distance(
                x,
                self.layer.running_mean,
                self.layer.running_var,
                mean_unit=self.mean_unit,
                var_unit=self.var_unit,
            )
        )
        return self.layer(x)  # type: ignore[no-any-return]


class _Keep(nn.Module):
    """Stands in the classifier's place: keeps what comes in, then lets the layer do its work."""

    def __init__(self, layer: nn.Linear, features: list[Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        self.features.append(x)
        return self.layer(x)  # type: ignore[no-any-return]


class Tapped(NamedTuple):
    """logits_NK: the network's output. distances_L: of its L BatchNorm layers, in the order in which they ran.
    features_ND: what its classifier got, the last linear layer; without one, the logits."""

    logits_NK: Tensor
    distances_L: Tensor
    features_ND: Tensor


class TappedNetwork(nn.Module):
    """A network that also tells how far the input of each of its BatchNorm layers is from the layer's statistics, and
    what its classifier gets.

    Modules in place of hooks, so that ``torch.compile`` makes one graph of it. The given network is left as it is;
    this one shares its parameters and buffers. Not to be called by two threads at once.

    Args:
        network: in eval mode.
        statistics: measure the BatchNorm layers; else there are no distances.
        relative: divide a layer's distances by the length of its running deviation and of its running variance, so
            that a wide layer, or one of large values, counts as much as another.
    """

    def __init__(self, network: nn.Module, *, statistics: bool = True, relative: bool = False) -> None:
        super().__init__()
        tensors = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
        self.network = copy.deepcopy(network, tensors)
        self._distances: list[Tensor] = []
        self._features: list[Tensor] = []
        taps: dict[int, nn.Module] = {}
        if statistics:
            for layer in batchnorm_layers(self.network):
                taps[id(layer)] = _Tap(layer, self._distances, relative=relative)
        last = classifier(self.network)
        if last is not None:
            taps[id(last)] = _Keep(last, self._features)
        for module in list(self.network.modules()):
            for name, child in list(module.named_children()):
                if id(child) in taps:
                    setattr(module, name, taps[id(child)])

    def forward(self, x: Tensor) -> Tapped:
        self._distances.clear()
        self._features.clear()
        logits = self.network(x)
        distances = torch.stack(self._distances) if self._distances else logits.new_zeros(0)
        features = self._features[-1].flatten(1) if self._features else logits
        self._distances.clear()
        self._features.clear()
        return Tapped(logits, distances, features)
