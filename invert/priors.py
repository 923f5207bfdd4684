"""Priors: what real images have in common inside the teacher, as terms of the objective.

A prior measures the inputs of some of the teacher's layers and makes one term of what it measured. The statistics of
BatchNorm layers (DeepInversion) are one prior; patch statistics of vision transformers could be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..shared.core.numerics import at_least_float32
from ..shared.models.features import batchnorm_layers
from .recipe import Recipe


class Prior(Protocol):
    """One term of the objective, taken from the inputs of some layers.

    Attributes:
        name: of the term; ``alpha_<name>`` is its weight in the recipe.
        needs: what a network must have, for the error message of one that has none.
    """

    name: str
    needs: str

    def layers(self, network: nn.Module) -> Sequence[nn.Module]:
        """The layers whose inputs it measures; none if this prior does not work with the network."""
        ...

    def measure(self, layer: nn.Module) -> nn.Module:
        """A module that takes the input of that layer and returns what :meth:`term` needs to know of it.

        ``torch.compile`` must be able to trace it.
        """
        ...

    def term(self, measured: Sequence[Tensor]) -> Tensor:
        """The unweighted term, a scalar: one measurement per layer, in the order in which the layers ran."""
        ...


def make_priors(recipe: Recipe) -> list[Prior]:
    """The priors that a recipe gives a weight."""
    priors: list[Prior] = [BatchNormStatistics(relative=recipe.statistics == "relative", first_factor=recipe.first_bn)]
    return [prior for prior in priors if getattr(recipe, f"alpha_{prior.name}")]


class BatchNormStatistics:
    """R_feature: the distance of a batch's feature statistics to those that the teacher was trained on.

    Args:
        relative: divide the distances of a layer by the length of its running deviation and of its running variance,
            and average over layers: a wide layer, or one of large values, then counts as much as another.
        first_factor: factor on the distance of the first layer.
    """

    name = "feature"
    needs = "BatchNorm layer with running statistics"

    def __init__(self, *, relative: bool = False, first_factor: float = 1.0) -> None:
        self.relative = relative
        self.first_factor = first_factor

    def layers(self, network: nn.Module) -> Sequence[_BatchNorm]:
        return batchnorm_layers(network)

    def measure(self, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, _BatchNorm)
        return StatisticsDistance(layer, relative=self.relative)

    def term(self, measured: Sequence[Tensor]) -> Tensor:
        distances_L = torch.stack(list(measured))
        total = distances_L.sum() + (self.first_factor - 1) * distances_L[0]
        return total / len(distances_L) if self.relative else total


class StatisticsDistance(nn.Module):
    """:func:`statistics_distance` to the statistics of one BatchNorm layer, whose buffers it shares."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layer: _BatchNorm, *, relative: bool) -> None:
        super().__init__()
        assert layer.running_var is not None
        self.register_buffer("running_mean", layer.running_mean)
        self.register_buffer("running_var", layer.running_var)
        self.mean_unit = self.var_unit = 1.0
        if relative:
            tiny = torch.finfo(torch.float32).tiny
            self.mean_unit = max(tiny, float(layer.running_var.sum().sqrt()))
            self.var_unit = max(tiny, float(torch.linalg.vector_norm(layer.running_var)))

    def forward(self, x: Tensor) -> Tensor:
        return statistics_distance(
            x, self.running_mean, self.running_var, mean_unit=self.mean_unit, var_unit=self.var_unit
        )


class _StatisticsDistance(torch.autograd.Function):
    """The distance with its analytic gradient; see :func:`statistics_distance`.

    Both moments are taken of x - running_mean. That needs one pass, and it is stable, since the mean of a trained
    network's features is never far from the running mean. The gradient is linear in x,

        d/dx = (mean - running_mean) / (n |mean - running_mean|)
             + 2 (var - running_var) (x - mean) / (n |var - running_var|).

    So the backward pass needs, beside x, only a slope and an offset for each channel, which the forward pass finds. The
    compiler then reads x once, together with the gradient of the BatchNorm layer itself.
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
    """One layer's part of R_feature: ``||mean(x) - running_mean||_2 + ||var(x) - running_var||_2`` (a scalar).

    Mean and biased variance run over all dimensions but the channels (Yin et al. 2020, eq. 4). ``x`` is the layer's
    input, (N, C, ...). Statistics are float32 where ``x`` is a half format.

    Args:
        mean_unit, var_unit: what the two distances are divided by.
    """
    return _StatisticsDistance.apply(x, running_mean_C, running_var_C, mean_unit, var_unit)  # type: ignore[no-any-return]


def _as_channels(values_C: Tensor, x: Tensor) -> Tensor:
    return values_C.view(-1, *[1] * (x.ndim - 2))


def _sum_but_channels(x: Tensor) -> Tensor:
    """(C,) sums. Pixels before images: sums of sums lose fewer digits, and the compiler turns them into plain loops."""
    return (x.sum(tuple(range(2, x.ndim))) if x.ndim > 2 else x).sum(0)
