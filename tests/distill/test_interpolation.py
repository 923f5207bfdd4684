"""Weights between the first and the last: where they are best for the teacher's answers to images upside down."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dreamdistill.distill.interpolation import FirstWeights

X_NCHW = torch.randn(70, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(6)
    norm.running_mean = torch.randn(6)
    found = nn.Sequential(nn.Conv2d(2, 6, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))
    return found.eval().requires_grad_(False)


def between(first: nn.Module, last: nn.Module, share: float) -> nn.Module:
    found = copy.deepcopy(last)
    for value, one, other in zip(found.parameters(), first.parameters(), last.parameters(), strict=True):
        value.copy_((1 - share) * one.double() + share * other.double())
    for value, one, other in zip(found.buffers(), first.buffers(), last.buffers(), strict=True):
        if value.is_floating_point():
            value.copy_((1 - share) * one.double() + share * other.double())
    return found


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75])
def test_the_weights_that_answer_as_the_teacher_does_are_found(share: float, capsys: pytest.CaptureFixture) -> None:
    first, last = network(0), network(1)
    teacher = between(first, last, share)
    FirstWeights(first).settle(last, teacher, X_NCHW, title="repair")
    for name, value in last.state_dict().items():
        torch.testing.assert_close(value, teacher.state_dict()[name])
    assert f"repair: the weights are those at {share:.0%} of the way" in capsys.readouterr().err


def test_the_last_weights_stay_to_the_bit_where_they_are_best(capsys: pytest.CaptureFixture) -> None:
    first, last = network(0), network(1)
    teacher, before = copy.deepcopy(last), copy.deepcopy(last.state_dict())
    FirstWeights(first).settle(last, teacher, X_NCHW, title="repair")
    assert all(torch.equal(value, before[name]) for name, value in last.state_dict().items())
    assert capsys.readouterr().err == ""


def test_images_are_looked_at_upside_down() -> None:
    """Right side up the last weights would be best, upside down the first."""
    first, last = network(0), network(1)

    class Teacher(nn.Module):
        def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
            is_turned = torch.equal(x_NCHW[0].flip(1), X_NCHW[0]) or torch.equal(x_NCHW[0].flip(1), X_NCHW[32])
            return first(x_NCHW) if is_turned or torch.equal(x_NCHW[0].flip(1), X_NCHW[64]) else kept(x_NCHW)

    kept = copy.deepcopy(last)
    FirstWeights(first).settle(last, Teacher(), X_NCHW, title="repair")
    torch.testing.assert_close(last.state_dict(), first.state_dict())
