"""A network whose right answers are known, to measure evaluation sets with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.preprocessing import Preprocessing


class BrightestChannel(nn.Module):
    """Classifies an image by its colour: red, green, blue."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean((2, 3))


@pytest.fixture
def measure() -> Callable[..., float]:
    """A function of a set's name and the network's class names, which gives the top-1 of that network."""

    def accuracy(spec: object, class_names: Sequence[str] = (), batch_size: int = 256) -> float:
        preprocessing = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3, image_size=32)
        found = open_labelled(str(spec), 3, class_names)
        return top1(BrightestChannel(), found, preprocessing, batch_size=batch_size)

    return accuracy
