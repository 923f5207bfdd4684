"""Hints: the teacher's feature maps, which a student learns to tell beside its answers (FitNets, Romero et al. 2015).

An image has one answer of K numbers, and feature maps of many more: where images are few and not quite natural, they
say most of what the teacher knows. A network's hint of a side length is the last feature map of that side, the end of
a stage; hints are given at the sides that teacher and student have in common, whatever their architectures.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Maps = dict[int, Tensor]  # by their side in pixels, the last of each: (N, C, side, side)


def observe(network: nn.Module, x_NCHW: Tensor, sides: Sequence[int] | None = None) -> tuple[Tensor, Maps]:
    """The logits (N, K), and the last square feature map of each side above one pixel, in order of appearance.

    Args:
        sides: which, None for all; for none of them nothing is watched.
    """
    maps: Maps = {}

    def keep(_module: nn.Module, _inputs: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] == out.shape[3] > 1:
            if sides is None or out.shape[3] in sides:
                maps[out.shape[3]] = out

    with ExitStack() as hooks:
        for module in network.modules() if sides is None or sides else ():
            hooks.callback(module.register_forward_hook(keep).remove)
        return network(x_NCHW), maps


class Guess(nn.Module):
    """Tells a hint (N, given, side, side) from the student's own map (N, own, side, side), each pixel by itself.

    Normalised first: whatever the scale of the student's maps, steps of one size suit the weights. A constant is one
    channel more, so that the offset is a column of the matrix, and takes steps as its other columns do.
    """

    def __init__(self, own: int, given: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(own, affine=False)
        self.conv = nn.Conv2d(own + 1, given, 1, bias=False)

    def forward(self, own_NCHW: Tensor) -> Tensor:
        return self.conv(F.pad(self.norm(own_NCHW), (0, 0, 0, 0, 0, 1), value=1.0))  # type: ignore[no-any-return]


class Hinted(nn.Module):
    """A student that also guesses the teacher's hints, from its own feature map of that side.

    Args:
        student: kept as it is; the guesses are this module's own, and of no use after the training.
        teacher: None for a student without hints, as where labels are stored.
        example_NCHW: any image, on the device of both.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None, example_NCHW: Tensor) -> None:
        super().__init__()
        self.student = student
        self.guesses = nn.ModuleDict()
        if teacher is not None:
            for side, (own, given) in channels_in_common(student, teacher, example_NCHW).items():
                self.guesses[str(side)] = Guess(own, given).to(example_NCHW)

    @property
    def sides(self) -> list[int]:
        return [int(side) for side in self.guesses]

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        """The student's logits (N, K), then a guess (N, C, side, side) for each of :attr:`sides`."""
        logits_NK, maps = observe(self.student, x_NCHW, self.sides)
        return logits_NK, *(guess(maps[int(side)]) for side, guess in self.guesses.items())


@torch.no_grad()
def channels_in_common(student: nn.Module, teacher: nn.Module, example_NCHW: Tensor) -> dict[int, tuple[int, int]]:
    """The student's and the teacher's channels at each side of which both have a feature map."""
    was_training = student.training
    (_, own), (_, given) = observe(student.eval(), example_NCHW), observe(teacher, example_NCHW)
    student.train(was_training)
    return {side: (own[side].shape[1], given[side].shape[1]) for side in given if side in own}
