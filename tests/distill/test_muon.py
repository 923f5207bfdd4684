"""Muon against a plain float64 reference, and what its steps leave unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dreamdistill.distill.muon import LONGEST, Muon, multiply_adds, orthogonalized

LR, MOMENTUM = 0.1, 0.9


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 20), (20, 5), (7, 7), (1, 9), (9, 1)])
def test_singular_values_become_about_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrices = normal(3, *shape)
    found = orthogonalized(1e-6 * matrices)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    inside = u.mT @ found @ vh.mT  # diagonal, if the singular vectors are the same
    kept = torch.diagonal(inside, dim1=1, dim2=2)
    assert torch.allclose(inside, torch.diag_embed(kept), atol=1e-9)
    assert kept[s / s[:, :1] > 0.05].min() > 0.5
    assert kept.max() < 1.3


def test_zeros_stay_zeros() -> None:
    assert not orthogonalized(torch.zeros(2, 3, 4)).any()


def reference(weight: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    """The steps of the docstring, with the polynomial applied to singular values."""
    mean = np.zeros_like(weight)
    for gradient in gradients:
        mean = MOMENTUM * mean + gradient
        u, s, vh = np.linalg.svd(gradient + MOMENTUM * mean, full_matrices=False)
        s = s / np.linalg.norm(s)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        update = u * s @ vh
        weight = weight - LR * np.linalg.norm(weight) / np.linalg.norm(update) * update
        weight = weight / np.sqrt(1 + LR**2)
    return weight


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_the_reference(layout: torch.memory_format) -> None:
    weights = [nn.Parameter(normal(*shape, seed=i)) for i, shape in enumerate([(6, 4, 3, 3), (6, 4, 3, 3), (8, 5)])]
    for weight in weights[:2]:
        weight.data = weight.data.to(memory_format=layout)
    before = [weight.detach().clone() for weight in weights]
    optimizer = Muon(weights, lr=LR, momentum=MOMENTUM)
    gradients = [[normal(*weight.shape, seed=10 * step + i) for i, weight in enumerate(weights)] for step in range(3)]
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    for i, weight in enumerate(weights):
        expected = reference(before[i].flatten(1).numpy(), [step[i].flatten(1).numpy() for step in gradients])
        assert weight.detach().flatten(1).numpy() == pytest.approx(expected, rel=1e-9)


def test_steps_do_not_depend_on_the_scale_of_the_loss_or_of_the_weight() -> None:
    ends = []
    for scale in (1.0, 0.1, 2.0):
        weight = nn.Parameter(scale * normal(4, 6))
        optimizer = Muon([weight], lr=LR, momentum=MOMENTUM)
        for step in range(3):
            weight.grad = normal(4, 6, seed=step + 1) / scale
            optimizer.step()
        ends.append(weight.detach() / scale)
    assert torch.allclose(ends[0], ends[1], rtol=1e-6)
    assert torch.allclose(ends[0], ends[2], rtol=1e-6)


def test_a_weight_ahead_of_a_batchnorm_keeps_its_length() -> None:
    torch.manual_seed(0)
    conv, batchnorm = nn.Conv2d(3, 8, 3, bias=False).double(), nn.BatchNorm2d(8).double().train()
    (weight,) = conv.parameters()
    before = weight.norm().item()
    optimizer = Muon([weight], lr=LR, momentum=0.0)
    for step in range(20):
        optimizer.zero_grad()
        batchnorm(conv(normal(4, 3, 8, 8, seed=step))).pow(3).mean().backward()
        optimizer.step()
    # Not exactly: the gradient is orthogonal to the weight, and its orthogonalized form only nearly so.
    assert weight.norm().item() == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize("first", [1.0, 100.0])
def test_weights_do_not_grow_without_bound(first: float) -> None:
    """An orthogonalized gradient has a part along the weight even where the gradient has none, and this adds up."""
    weight = nn.Parameter(first * normal(4, 6))
    optimizer = Muon([weight], lr=LR, momentum=MOMENTUM)
    longest = max(weight.norm().item(), LONGEST * 2)
    lengths = []
    for step in range(300):
        along = weight.detach() / weight.norm()
        gradient = normal(4, 6, seed=step)
        weight.grad = gradient - (gradient * along).sum() * along - 0.5 * along  # on the average outwards
        optimizer.step()
        lengths.append(weight.norm().item())
    assert lengths[-1] == pytest.approx(longest)
    assert max(lengths) == pytest.approx(longest)


def test_a_weight_of_zeros_moves_and_one_without_a_gradient_stays() -> None:
    zeros, idle = nn.Parameter(torch.zeros(4, 6)), nn.Parameter(torch.ones(4, 6))
    optimizer = Muon([zeros, idle], lr=LR, momentum=MOMENTUM)
    zeros.grad = torch.randn(4, 6)
    optimizer.step()
    assert zeros.abs().min() > 0
    assert torch.equal(idle, torch.ones(4, 6))


def test_multiply_adds_are_those_that_torch_counts() -> None:
    weights = [normal(4, 6, 3, 3), normal(9, 5), normal(7)]
    with FlopCounterMode(display=False) as counter:
        for weight in weights[:2]:
            orthogonalized(weight.flatten(1)[None])
    assert multiply_adds(weights) == counter.get_total_flops() // 2
