"""The importance of a channel: how much the loss would change without it, by the Taylor score of a gate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.errors import DreamError
from ..models.channels import can_be_narrowed


def gate_scores(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Taylor importance of every channel of every gate, first order (Molchanov et al. 2019, "Importance Estimation for
    Neural Network Pruning").

    A gate multiplies channel c of a layer's output z by g_c = 1. To first order, g_c = 0 changes the loss L by
    dL/dg_c = sum over n, h, w of z dL/dz. The score is its square, averaged over the minibatches::

        BatchNorm             score_c = mean over minibatches of (gamma_c dL/dgamma_c + beta_c dL/dbeta_c)^2
        convolution, linear   score_c = mean over minibatches of (sum over s of w_cs dL/dw_cs + b_c dL/db_c)^2

    L is the minibatch's mean cross-entropy with hard targets. The network is put in eval mode, where BatchNorms use
    their running statistics. Afterwards no parameter has a gradient, and ``requires_grad`` is as it was.

    Args:
        batches: network input (N, C, H, W) and targets (N,) of whole numbers, on the network's device. The scores
            depend on N, so all minibatches should have the same size.

    Returns:
        Layer name -> (C,) float64 on the CPU, 0 or more, for each BatchNorm that has gamma and beta, 2-d convolution
        and linear layer that can be narrowed. Where a BatchNorm follows a convolution, the BatchNorm's gate counts; the
        convolution's own score is returned too, since only the graph knows which layer follows which.

    Raises:
        DreamError: there are no batches, or the loss is not finite.
    """
    gates = {
        name: list(module.parameters(recurse=False))
        for name, module in network.named_modules()
        if can_be_narrowed(module) and (isinstance(module, (nn.Conv2d, nn.Linear)) or _is_affine(module))
    }
    parameters = [parameter for layer in gates.values() for parameter in layer]
    totals = {name: torch.zeros(len(layer[0]), dtype=torch.float64) for name, layer in gates.items()}
    network.eval()
    count = 0
    with _requiring_gradients(network, parameters):
        for x_NCHW, targets_N in batches:
            loss = F.cross_entropy(network(x_NCHW), targets_N)
            # A layer that eval mode skips, such as an auxiliary head, has no gradient.
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            if not loss.isfinite():  # host sync
                raise DreamError("the network's loss on these images is not finite, so its channels cannot be ranked")
            squares = _squared_gate_gradients(list(gates.values()), gradients)
            for total, square in zip(totals.values(), squares, strict=True):
                total += square
            count += 1
    if not count:
        raise DreamError("there are no images to rank the channels on")
    return {name: total / count for name, total in totals.items()}


def _is_affine(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.affine


def _squared_gate_gradients(gates: Sequence[Sequence[Tensor]], gradients: Iterable[Tensor | None]) -> list[Tensor]:
    """(dL/dg)^2 of each gate, (C,) float64 on the CPU, from the gradients in the order of the gates' parameters."""
    remaining = iter(gradients)
    sums = []
    for layer in gates:
        gate_gradient_C = torch.zeros(len(layer[0]), device=layer[0].device, dtype=layer[0].dtype)
        for parameter in layer:
            gradient = next(remaining)
            if gradient is not None:
                gate_gradient_C += (parameter.detach() * gradient).reshape(len(parameter), -1).sum(1)
        sums.append(gate_gradient_C)
    together = torch.cat(sums).cpu().double().square()  # one host sync for all layers
    return list(together.split([len(layer_sum) for layer_sum in sums]))


@contextlib.contextmanager
def _requiring_gradients(network: nn.Module, parameters: Iterable[Tensor]) -> Iterator[None]:
    """A context in which these parameters alone require gradients; afterwards ``requires_grad`` is as it was."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)
