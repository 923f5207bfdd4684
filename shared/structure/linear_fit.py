"""The least-squares fit of one layer to given outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

RIDGE = 1e-3  # weight of the old weights, as a share of the mean square of the inputs
HEAD_RIDGE = 10 * RIDGE  # of the last linear layer, whose targets are the logits


def solve(module: nn.Module, columns: Tensor, target: Tensor, *, ridge: float, norm: nn.Module | None = None) -> float:
    """Fit the weight and bias of one layer, in place. Returns the share of the target's variance that it misses.

    Args:
        columns: (samples, groups, inputs of a group and place of the kernel).
        target: (samples, outputs).
        ridge: see :data:`RIDGE`.
        norm: the BatchNorm that reads the layer; it takes the mean that a layer without bias cannot.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    groups = columns.shape[1]
    p_GSD = columns.transpose(0, 1).double()
    y_GSO = target.double().unflatten(1, (groups, -1)).transpose(0, 1)
    mean_C = None if norm is None else norm.running_mean
    assert mean_C is None or isinstance(mean_C, Tensor)
    centred = bias is not None or mean_C is not None
    mean_p, mean_y = p_GSD.mean(1, keepdim=True), y_GSO.mean(1, keepdim=True)
    if centred:
        p_GSD, y_GSO = p_GSD - mean_p, y_GSO - mean_y
    old_GDO = weight.double().reshape(groups, -1, p_GSD.shape[2]).transpose(1, 2)
    amount_G = ridge * p_GSD.square().sum((1, 2)).div(p_GSD.shape[2]).clamp_min(1e-12)
    new_GDO = ridge_regression(p_GSD, y_GSO, old_GDO, amount_G)
    left = y_GSO - p_GSD @ new_GDO
    weight.copy_(new_GDO.transpose(1, 2).reshape(weight.shape))
    if centred:
        missing_C = (mean_y - mean_p @ new_GDO).flatten()
        if bias is not None:
            bias.copy_(missing_C)
        elif mean_C is not None:
            mean_C -= missing_C.to(mean_C)
    return float(left.square().sum() / y_GSO.square().sum().clamp_min(1e-12))


def ridge_regression(p_GSD: Tensor, y_GSO: Tensor, old_GDO: Tensor, amount_G: Tensor) -> Tensor:
    """``(P'P + r I)^-1 (P'Y + r W_0)`` of each group.

    With fewer samples than inputs it is computed as ``W_0 + P' (PP' + r I)^-1 (Y - P W_0)``, which is the same: the
    matrix is as large as the samples are many. A linear layer of 25,088 inputs would need 5 GB for the other one.

    Args:
        p_GSD: inputs of each sample.
        y_GSO: wanted outputs.
        old_GDO: W_0.
        amount_G: r, above 0.
    """
    turned_GDS = p_GSD.transpose(1, 2)
    few = p_GSD.shape[1] < p_GSD.shape[2]
    matrix = p_GSD @ turned_GDS if few else turned_GDS @ p_GSD
    matrix.diagonal(dim1=1, dim2=2).add_(amount_G[:, None])
    # The matrix is positive definite. torch.linalg.solve of several matrices hangs in torch 2.14: it runs an LU
    # decomposition of many threads in each of its own.
    factor = torch.linalg.cholesky(matrix)
    if few:
        return old_GDO + turned_GDS @ torch.cholesky_solve(y_GSO - p_GSD @ old_GDO, factor)
    return torch.cholesky_solve(turned_GDS @ y_GSO + amount_G[:, None, None] * old_GDO, factor)


def fitted_tensors(layer: nn.Module, norm: nn.Module | None) -> list[Tensor]:
    """The tensors that a fit changes."""
    found = [layer.weight, layer.bias, None if norm is None else norm.running_mean]
    return [each for each in found if isinstance(each, Tensor)]


def slope(norm: nn.Module | None) -> Tensor | float:
    """The factor of each channel of a BatchNorm, kept away from 0."""
    if norm is None:
        return 1.0
    assert isinstance(norm, _BatchNorm)
    if norm.running_var is None:
        return 1.0
    slope_C = (norm.running_var + norm.eps).rsqrt() * (norm.weight if norm.affine else 1.0)
    least = 1e-2 * slope_C.abs().max().clamp_min(1e-12)
    return torch.where(slope_C < 0, slope_C.clamp(max=-least), slope_C.clamp(min=least))
