"""A network with a concatenation, for several tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn


class Concatenated(nn.Module):
    """Two branches side by side, one with a BatchNorm and one without, then a flattening over 2x2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.left_bn = nn.BatchNorm2d(4)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.after_bn = nn.BatchNorm2d(10)
        self.linear = nn.Linear(40, 5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        both = torch.cat([self.left_bn(self.left(x_NCHW)).relu(), self.right(x_NCHW)], dim=1)
        return self.linear(nn.functional.adaptive_avg_pool2d(self.after_bn(both).relu(), 2).flatten(1))


@pytest.fixture
def concatenated() -> nn.Module:
    torch.manual_seed(0)
    return Concatenated()
