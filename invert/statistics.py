"""BatchNorm taps: how far the batch's feature statistics are from those that the teacher was trained on."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..shared.precision import at_least_float32


def batchnorm_layers(network: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that keep running statistics, in the order of definition (timm's subclasses too)."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None and layer.running_var is not None]


class _MeanAndVariance(torch.autograd.Function):
    """Mean and biased variance of each channel, with the analytic gradient.

    d/dx = g_mean / n + 2 g_var (x - mean) / n, one pass over x and nothing saved but x, which the network saves anyway.
    The forward is two plain means: torch.var_mean is 1.5 to 4 times slower on the CPU (docs/performance.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        dims = [dim for dim in range(x.ndim) if dim != 1]
        mean = x.mean(dims, keepdim=True)
        var_C = (x - mean).square_().mean(dims)
        ctx.save_for_backward(x, mean)
        return mean.flatten(), var_C

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        by_mean, by_var = (gradient.view_as(mean) / count for gradient in gradients)
        return torch.addcmul(by_mean - 2 * by_var * mean, x, 2 * by_var)


def statistics_distance(x: Tensor, running_mean_C: Tensor, running_var_C: Tensor) -> Tensor:
    """One layer's term of R_feature: ``||mean(x) - running_mean||_2 + ||var(x) - running_var||_2`` (a scalar).

    Mean and biased variance run over all but the channels (Yin et al. 2020, eq. 4). ``x`` is the layer's input,
    (N, C, ...); statistics are float32 where ``x`` is a half format.
    """
    mean_C, var_C = _MeanAndVariance.apply(at_least_float32(x))  # type: ignore[misc]
    mean_norm = torch.linalg.vector_norm(mean_C - running_mean_C)
    return mean_norm + torch.linalg.vector_norm(var_C - running_var_C)


class BatchNormTaps:
    """Reads the input of every BatchNorm layer of a network as it passes.

    A context manager: the network is as it was before once it is left.

        with BatchNormTaps(network) as taps:
            logits = network(x)
            distances_L = taps.collect()
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = batchnorm_layers(network)
        self._distances: dict[int, Tensor] = {}
        self._handles = [layer.register_forward_pre_hook(self._tap) for layer in self.layers]
        self._place = {id(layer): place for place, layer in enumerate(self.layers)}

    def __enter__(self) -> BatchNormTaps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def collect(self) -> Tensor:
        """The distances of the last forward, (L,), in the layers' order; a layer that was not run counts 0."""
        zero = self.layers[0].running_mean.new_zeros(())  # type: ignore[union-attr]
        collected = torch.stack([self._distances.get(place, zero) for place in range(len(self.layers))])
        self._distances.clear()
        return collected

    def _tap(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self._distances[self._place[id(layer)]] = statistics_distance(inputs[0], layer.running_mean, layer.running_var)
