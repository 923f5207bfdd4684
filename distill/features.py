"""Feature distillation: the student learns to predict the teacher's feature maps beside its logits.

An image has K logits and feature maps of many more numbers. Where images are few and not quite natural, the maps carry
most of what the teacher knows (FitNets, Romero et al. 2015). Student and teacher may be of any two architectures:
their maps are matched where they have the same side in pixels. The maps are the outputs of blocks, as many for a side
as both networks have, in pairs at about the same depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.structure.linear_fit import RIDGE, solve

FIT_IMAGES = 128  # that the regressors are fitted on, at most
FIT_ROWS = 2**15  # pixels of a map that a regressor is fitted to, about, at most
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


def forward_with_features(network: nn.Module, x_NCHW: Tensor) -> tuple[Tensor, dict[FeatureMap, Tensor]]:
    """The logits (N, K), and all feature maps, in the order of their computation."""
    maps: dict[FeatureMap, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[2] != out.shape[3] or out.shape[3] == 1:
            return
        found = FeatureMap(module=name, side=out.shape[3], channels=out.shape[1])
        maps.pop(found, None)  # a module may be called more than once: the last call counts, for the order too
        maps[found] = out

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(partial(keep, name)).remove)
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
    bias is a column of the weight matrix, as if a channel of ones fed it, so that it takes the same steps as its other
    columns.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, affine=False)
        self.conv = nn.Conv2d(in_channels + 1, out_channels, 1, bias=False)

    @torch.no_grad()
    def fit(self, student_NCHW: Tensor, teacher_NCHW: Tensor) -> None:
        """Begin with the prediction of least squares, in units of the teacher's root mean square."""
        standard_NCHW = F.batch_norm(student_NCHW, None, None, training=True)
        columns_SC, target_SC = (each.movedim(1, -1).flatten(0, -2) for each in (standard_NCHW, teacher_NCHW))
        every = -(-len(columns_SC) // FIT_ROWS)
        columns_SC, target_SC = columns_SC[::every], target_SC[::every]
        columns_SC = torch.cat([columns_SC, torch.ones_like(columns_SC[:, :1])], dim=1)
        scale = target_SC.square().mean().clamp_min(1e-6).sqrt()
        solve(self.conv, columns_SC[:, None], target_SC / scale, ridge=RIDGE)

    def forward(self, student_NCHW: Tensor) -> Tensor:
        weight = self.conv.weight
        return F.conv2d(self.norm(student_NCHW), weight[:, :-1], weight[:, -1, 0, 0])


class Taps:
    """Hooks that keep wanted feature maps of a network's next forward pass, until they are removed.

    ``torch.compile`` makes one graph of a network and its taps.
    """

    def __init__(self, network: nn.Module, wanted: Sequence[FeatureMap]) -> None:
        self._wanted = [(each.module, each.side) for each in wanted]
        self._kept: dict[tuple[str, int], Tensor] | None = None  # None: nobody looks
        self._hooks = [
            network.get_submodule(name).register_forward_hook(partial(self._keep, name))
            for name in dict.fromkeys(each.module for each in wanted)
        ]

    def forward(self, network: nn.Module, x_NCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits (N, K) of the network, and the wanted maps in their order."""
        self._kept = {}
        logits_NK = network(x_NCHW)
        maps = [self._kept[each] for each in self._wanted]
        self._kept = None
        return logits_NK, maps

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, name: str, _module: nn.Module, _inputs: Any, out: Any) -> None:
        # A module may be called more than once: the last call counts.
        if self._kept is not None and isinstance(out, Tensor) and out.ndim == 4 and out.shape[2] == out.shape[3]:
            self._kept[name, out.shape[3]] = out


class StudentWithRegressors(nn.Module):
    """A student, and a regressor for each pair of feature maps.

    Args:
        student: it gets hooks, until :meth:`release`. The regressors belong to this module, and are of no use after
            the training.
        pairs: the student's maps, and the teacher's that they predict; none for a student without regressors.
    """

    def __init__(self, student: nn.Module, pairs: Sequence[FeaturePair]) -> None:
        super().__init__()
        self.student = student
        self.taps = Taps(student, [pair.student for pair in pairs])
        regressors = [Regressor(pair.student.channels, pair.teacher.channels) for pair in pairs]
        self.regressors = nn.ModuleList(regressors).to(next(student.parameters()))

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        """The student's logits (N, K), then for each pair a prediction (N, C, side, side) of the teacher's map."""
        logits_NK, maps = self.taps.forward(self.student, x_NCHW)
        return logits_NK, *(regressor(each) for regressor, each in zip(self.regressors, maps, strict=True))

    @torch.no_grad()
    def fit(self, x_NCHW: Tensor, features: Sequence[Tensor]) -> None:
        """Let the regressors begin with the prediction of least squares.

        Args:
            x_NCHW: network input, for which the student runs in eval mode.
            features: the teacher's maps for it, one of each pair.
        """
        _, maps = self.taps.forward(self.student.eval(), x_NCHW)
        for regressor, own, theirs in zip(self.regressors, maps, features, strict=True):
            assert isinstance(regressor, Regressor)
            regressor.fit(own.float(), theirs.float())

    def release(self) -> None:
        """Take the hooks from the student."""
        self.taps.remove()
