"""Feature distillation: the student learns to predict the teacher's feature maps beside its logits.

An image has K logits and feature maps of many more numbers. Where images are few and not quite natural, the maps carry
most of what the teacher knows (FitNets, Romero et al. 2015). Student and teacher may be of any two architectures:
their maps are matched where they have the same side in pixels. The maps are the outputs of blocks, as many for a side
as both networks have, in pairs at about the same depth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PER_SIDE = 3  # pairs for one side, at most: each costs a 1x1 convolution of the student's map


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """A square feature map of a network, (N, channels, side, side).

    Attributes:
        module: name of the module whose last output of this side it is.
        side: in pixels, 2 or more.
        channels: follow from the other two, so they take no part in comparisons.
    """

    module: str
    side: int
    channels: int = field(compare=False)


class FeaturePair(NamedTuple):
    """A feature map of the student, and the teacher's that it learns to predict."""

    student: FeatureMap
    teacher: FeatureMap


def forward_with_features(
    network: nn.Module, x_NCHW: Tensor, wanted: Collection[FeatureMap] | None = None
) -> tuple[Tensor, dict[FeatureMap, Tensor]]:
    """The logits (N, K), and the wanted feature maps, or all of them, in the order of their computation."""
    names = [name for name, _ in network.named_modules()] if wanted is None else {each.module for each in wanted}
    maps: dict[FeatureMap, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[2] != out.shape[3] or out.shape[3] == 1:
            return
        found = FeatureMap(module=name, side=out.shape[3], channels=out.shape[1])
        if wanted is None or found in wanted:
            maps.pop(found, None)  # a module may be called more than once: the last call counts, for the order too
            maps[found] = out

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(network.get_submodule(name).register_forward_hook(partial(keep, name)).remove)
        return network(x_NCHW), maps


@torch.no_grad()
def find_feature_maps(network: nn.Module, example_NCHW: Tensor) -> list[FeatureMap]:
    """The feature maps that feature distillation may use, in the order of their computation.

    They are the outputs of blocks. A side without blocks, such as a stem's, has its last map alone. The network stays
    in the mode that it is in.

    Args:
        example_NCHW: any network input.
    """
    was_training = network.training
    _, maps = forward_with_features(network.eval(), example_NCHW)
    network.train(was_training)
    blocks = _block_names(network)
    by_side: dict[int, list[FeatureMap]] = {}
    for found in maps:
        by_side.setdefault(found.side, []).append(found)
    chosen: list[FeatureMap] = []
    for same_side in by_side.values():
        # A chain of blocks returns the tensor of its last block: each tensor counts once, for the innermost block.
        ends: dict[int, FeatureMap] = {}
        for found in same_side:
            if found.module in blocks:
                ends.setdefault(id(maps[found]), found)
        chosen.extend(ends.values() or same_side[-1:])
    return chosen


def _block_names(network: nn.Module) -> set[str]:
    """Names of the blocks: the members of chains (:class:`torch.nn.Sequential`) that have modules of their own, and
    the activations of chains that hold their convolutions directly, as a VGG's do.

    A chain within a chain is among them; its output is that of its last block."""
    links = {link for chain in network.modules() if isinstance(chain, nn.Sequential) for link in chain}
    blocks = {link for link in links if any(link.children()) or type(link).__module__ == nn.ReLU.__module__}
    return {name for name, module in network.named_modules() if module in blocks}


def match_feature_maps(student: Iterable[FeatureMap], teacher: Iterable[FeatureMap]) -> list[FeaturePair]:
    """Pairs of the same side, up to :data:`PER_SIDE` each, at equal fractions of the two networks' depths.

    Args:
        student, teacher: maps in the order of their computation (:func:`find_feature_maps`).
    """
    student, teacher = list(student), list(teacher)
    pairs: list[FeaturePair] = []
    for side in dict.fromkeys(found.side for found in teacher):
        students, teachers = ([found for found in maps if found.side == side] for maps in (student, teacher))
        count = min(PER_SIDE, len(students), len(teachers))
        for part in range(1, count + 1):
            pairs.append(
                FeaturePair(students[len(students) * part // count - 1], teachers[len(teachers) * part // count - 1])
            )
    return pairs


class Regressor(nn.Module):
    """Predicts a teacher's map (N, out_channels, side, side) from a student's (N, in_channels, side, side), pixel by
    pixel.

    The student's map is normalised first: steps of one size then suit the weights, whatever the scale of the map. The
    bias is a column of the weight matrix, fed by a channel of ones, so that it takes the same steps as its other
    columns.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, affine=False)
        self.conv = nn.Conv2d(in_channels + 1, out_channels, 1, bias=False)

    def forward(self, student_NCHW: Tensor) -> Tensor:
        return self.conv(F.pad(self.norm(student_NCHW), (0, 0, 0, 0, 0, 1), value=1.0))


class StudentWithRegressors(nn.Module):
    """A student, and a regressor for each pair of feature maps.

    Args:
        student: not changed. The regressors belong to this module, and are of no use after the training.
        pairs: the student's maps, and the teacher's that they predict; none for a student without regressors.
    """

    def __init__(self, student: nn.Module, pairs: Sequence[FeaturePair]) -> None:
        super().__init__()
        self.student = student
        self.student_maps = [pair.student for pair in pairs]
        regressors = [Regressor(pair.student.channels, pair.teacher.channels) for pair in pairs]
        self.regressors = nn.ModuleList(regressors).to(next(student.parameters()))

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        """The student's logits (N, K), then for each pair a prediction (N, C, side, side) of the teacher's map."""
        logits_NK, maps = forward_with_features(self.student, x_NCHW, self.student_maps)
        predict = zip(self.regressors, self.student_maps, strict=True)
        return logits_NK, *(regressor(maps[student_map]) for regressor, student_map in predict)
