"""Muon: an optimizer whose steps move a weight matrix equally far in all directions (Jordan et al. 2024).

A convolution's gradient is large in few directions, and late in the training the student's error lies in the others.
An orthogonalized momentum moves the weight equally far in all of them, whatever the scale of the loss.
``torch.optim.Muon`` takes matrices alone, and computes in bfloat16, which takes twice the time on a CPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# a x + b x^3 + c x^5, whose iterates take singular values to between 0.7 and 1.2 (Jordan et al.)
POLYNOMIAL = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
# Root mean square length of a weight's rows. Below the first, steps are as long as at it, so that a weight of 0 can
# leave 0. Above the second, steps make a weight no longer: ahead of a BatchNorm, where length has no effect, the part
# of each step along the weight itself adds up, to 1e19 in 5,000 steps (measured).
SHORTEST, LONGEST = 1e-2, 10.0
TINY = 1e-12


def orthogonalized(matrices_BMN: Tensor) -> Tensor:
    """Approximately U V^T for each matrix U S V^T, by Newton-Schulz iteration; (B, M, N), float32 or better.

    A matrix of zeros stays one. On CUDA the products are computed in bfloat16, as in Jordan et al.: the polynomial is
    wrong by more than bfloat16 is.
    """
    a, b, c = POLYNOMIAL
    is_tall = matrices_BMN.shape[1] > matrices_BMN.shape[2]
    x = matrices_BMN.mT if is_tall else matrices_BMN
    x = _normalized(x)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(ITERATIONS):
        square = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    x = x.to(matrices_BMN.dtype)
    return x.mT if is_tall else x


def multiply_adds(weights: Iterable[Tensor]) -> int:
    """Multiply-adds of the matrix products of one step with these weights; vectors take none."""
    total = 0
    for weight in weights:
        if weight.ndim > 1:
            short, long = sorted((len(weight), weight[0].numel()))
            total += ITERATIONS * short * short * (2 * long + short)
    return total


def _normalized(matrices_BMN: Tensor) -> Tensor:
    return matrices_BMN / torch.linalg.matrix_norm(matrices_BMN, keepdim=True).clamp_min(TINY)


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions or more, float32 or better, taken as matrices with one row per output.

    A step goes along the orthogonalized Nesterov momentum, and is ``lr`` times as long as the weight (its Frobenius
    norm). A step orthogonal to the weight makes it longer; this is undone (Bernstein et al. 2020). Once the rows of a
    weight have length :data:`LONGEST`, every increase is undone.
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, lr: float, momentum: float) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            same_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)  # few calls for many weights
            for weight in group["params"]:
                if weight.grad is not None:
                    same_shape[len(weight), weight[0].numel()].append(weight)
            for weights in same_shape.values():
                self._move(weights, lr=group["lr"], momentum=group["momentum"])

    def _move(self, weights: list[Tensor], *, lr: float, momentum: float) -> None:
        """Take a step with weights whose matrices have one shape."""
        updates: list[Tensor] = []
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].mul_(momentum).add_(weight.grad)
            updates.append(weight.grad.add(state["momentum"], alpha=momentum).flatten(1))
        updates_BMN = _normalized(orthogonalized(torch.stack(updates)))
        weights_BMN = torch.stack([weight.flatten(1) for weight in weights])
        rows = weights_BMN.shape[1] ** 0.5
        length_B11 = torch.linalg.matrix_norm(weights_BMN, keepdim=True)
        weights_BMN -= lr * length_B11.clamp_min(SHORTEST * rows) * updates_BMN
        longest_B11 = length_B11.clamp_min(LONGEST * rows)
        longest_B11 /= torch.linalg.matrix_norm(weights_BMN, keepdim=True)
        weights_BMN *= longest_B11.clamp_max((1 + lr**2) ** -0.5)
        for weight, value in zip(weights, weights_BMN, strict=True):
            weight.copy_(value.view_as(weight))
