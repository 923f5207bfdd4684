"""BatchNorm over the rows of all processes together, for any network, whose modules are not changed.

torch's ``SyncBatchNorm`` is a module that replaces BatchNorm's. It refuses the CPU, and removes the activation that
timm's BatchNorms contain. Here the operation is replaced in place of the module, while a ``with`` block lasts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode


class GlobalBatchNorm(TorchFunctionMode):
    """A context in which ``F.batch_norm``, in training, takes mean and variance over the rows of all processes.

    Every process must be in it, and have at least one row. Gradients of weight and bias count the process's own rows
    alone; the gradient of the input includes its effect on the rows of other processes. Running statistics have the
    same bits in all processes.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """With the arguments of ``F.batch_norm``."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.device.type == "cuda":
        group, world = distributed.group.WORLD, distributed.get_world_size()
        normed = SyncBatchNorm.apply(input, weight, bias, running_mean, running_var, eps, momentum, group, world)
    else:
        normed = _OnCpu.apply(input, weight, bias, running_mean, running_var, momentum, eps)
    assert isinstance(normed, Tensor)
    return normed


class _OnCpu(torch.autograd.Function):
    """BatchNorm in training: that of inference with the batch's statistics, and two more terms in the gradient.

    y = gamma xhat + beta, xhat = (x - mean) / std, over the n values of a channel. With g = dL/dy:
    dL/dx = gamma / std (g - sum(g) / n - xhat sum(g xhat) / n)  (Ioffe and Szegedy 2015).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_NCHW: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        # Means and variances of the parts give those of the whole (Chan et al. 1979). A sum of squares would lose
        # digits where the mean is large.
        mean_C, var_C = torch.batch_norm_update_stats(x_NCHW, None, None, 0.0)
        own = torch.cat([mean_C, var_C, mean_C.new_tensor([x_NCHW.numel() // x_NCHW.shape[1]])])
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        means_PC, vars_PC, counts_P1 = torch.stack(parts).split([len(mean_C), len(mean_C), 1], dim=1)
        count = counts_P1.sum()
        mean_C = (counts_P1 * means_PC).sum(0) / count
        var_C = (counts_P1 * (vars_PC + (means_PC - mean_C) ** 2)).sum(0) / count
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean_C, momentum)
            running_var.lerp_(var_C * (count / (count - 1)), momentum)
        ctx.save_for_backward(x_NCHW, weight, mean_C, var_C, count)
        ctx.eps = eps
        return F.batch_norm(x_NCHW, mean_C, var_C, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x_NCHW, weight, mean_C, var_C, count = ctx.saved_tensors
        gamma_C = torch.ones_like(mean_C) if weight is None else weight
        grad_NCHW, grad_weight_C, grad_bias_C = torch.ops.aten.native_batch_norm_backward(
            grad_outputs[0], x_NCHW, gamma_C, mean_C, var_C, None, None, False, ctx.eps, [True, True, True]
        )
        sums_2C = torch.cat([grad_weight_C, grad_bias_C])
        distributed.all_reduce(sums_2C)
        both_2C = sums_2C * (gamma_C * (var_C + ctx.eps).rsqrt() / count).repeat(2)
        # The two sums enter as slope * xhat + shift: a BatchNorm again, for which torch has a fast kernel.
        slope_C, shift_C = both_2C.chunk(2)
        grad_NCHW -= F.batch_norm(x_NCHW, mean_C, var_C, slope_C, shift_C, eps=ctx.eps)
        return grad_NCHW, *((None, None) if weight is None else (grad_weight_C, grad_bias_C)), None, None, None, None
