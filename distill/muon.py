"""Muon: steps that move every direction of a weight matrix alike (Jordan et al. 2024).

A convolution's gradient has few large directions, and what a student lacks late in its training lies in the others.
Made orthogonal, the momentum moves all of them by as much, whatever the scale of the loss. ``torch.optim.Muon`` takes
matrices alone, and in bfloat16, which costs twice the time on a CPU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Odd polynomial a x + b x^3 + c x^5, whose iterates take singular values to between 0.7 and 1.2 (Jordan et al.)
POLYNOMIAL = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
# Of a weight's rows: one that starts at 0 is to get away from it, a long one gets no longer. Behind a BatchNorm, where
# length changes nothing, a step's part along the weight itself adds up: to 1e19 in 5,000 steps (measured).
SHORTEST, LONGEST = 1e-2, 10.0
TINY = 1e-12


def orthogonalized(matrices_BMN: Tensor) -> Tensor:
    """About U V^T for each matrix U S V^T, by Newton-Schulz iteration; (B, M, N), float32 or better. 0 stays 0."""
    a, b, c = POLYNOMIAL
    is_tall = matrices_BMN.shape[1] > matrices_BMN.shape[2]
    x = matrices_BMN.mT if is_tall else matrices_BMN
    x = _of_length_one(x)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x


def _of_length_one(matrices_BMN: Tensor) -> Tensor:
    return matrices_BMN / torch.linalg.matrix_norm(matrices_BMN, keepdim=True).clamp_min(TINY)


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions or more, float32 or better, which it takes as matrices of one row an output.

    A step is ``lr`` of the weight's own length, along its orthogonalized Nesterov momentum. What sideways steps add to
    the length is taken off again (Bernstein et al. 2020), and all that steps add once rows are of length ``LONGEST``.
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, lr: float, momentum: float) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)  # few calls for many weights
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].mul_(momentum).add_(weight.grad)
                update = weight.grad.add(state["momentum"], alpha=momentum).flatten(1)
                alike[update.shape].append((weight, update))
            for members in alike.values():
                updates = _of_length_one(orthogonalized(torch.stack([update for _, update in members])))
                for (weight, _), update in zip(members, updates, strict=True):
                    rows = len(weight) ** 0.5
                    length = torch.linalg.vector_norm(weight)
                    weight.sub_(length.clamp_min(SHORTEST * rows) * update.view(weight.shape), alpha=lr)
                    longest = length.clamp_min(LONGEST * rows)
                    weight.mul_((longest / torch.linalg.vector_norm(weight)).clamp_max((1 + lr**2) ** -0.5))
