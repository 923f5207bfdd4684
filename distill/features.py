"""Hints: the teacher's feature maps, which a student learns to tell beside its answers (FitNets, Romero et al. 2015).

An image has one answer of K numbers, and feature maps of many more: where images are few and not quite natural, they
say most of what the teacher knows. Hints are given at the sides, in pixels, that teacher and student have in common,
whatever their architectures: the outputs of blocks, as many of a side as both have, in pairs of about equal depth.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PER_SIDE = 3  # hints, at most: each costs a 1x1 convolution of the student's map


class FeatureMap(NamedTuple):
    """A square feature map of a network: the last of ``side`` pixels that its module ``name`` puts out."""

    side: int
    name: str


Maps = dict[FeatureMap, Tensor]  # (N, C, side, side)


def forward_with_features(
    network: nn.Module, x_NCHW: Tensor, places: Collection[FeatureMap] | None = None
) -> tuple[Tensor, Maps]:
    """The logits (N, K), and the feature maps at these places, or at all, in the order of appearance."""
    names = [name for name, _ in network.named_modules()] if places is None else {place.name for place in places}
    maps: Maps = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[2] != out.shape[3] or out.shape[3] == 1:
            return
        place = FeatureMap(out.shape[3], name)
        if places is None or place in places:
            maps.pop(place, None)  # of a module that is called more than once the last counts, for the order too
            maps[place] = out

    with ExitStack() as hooks:
        for name in names:
            hooks.callback(network.get_submodule(name).register_forward_hook(partial(keep, name)).remove)
        return network(x_NCHW), maps


@torch.no_grad()
def find_feature_maps(network: nn.Module, example_NCHW: Tensor) -> dict[FeatureMap, int]:
    """Where a network has what may be a hint, in the order of appearance, and how many channels: what blocks put out;
    of a side without blocks, such as a stem's, its last map."""
    was_training = network.training
    _, maps = forward_with_features(network.eval(), example_NCHW)
    network.train(was_training)
    blocks = _blocks(network)
    sides: dict[int, list[FeatureMap]] = {}
    for place in maps:
        sides.setdefault(place.side, []).append(place)
    found: list[FeatureMap] = []
    for places in sides.values():
        ends: dict[int, FeatureMap] = {}  # of each map the first block: a stage puts out what its last block did
        for place in places:
            if place.name in blocks:
                ends.setdefault(id(maps[place]), place)
        found.extend(ends.values() or places[-1:])
    return {place: maps[place].shape[1] for place in found}


def _blocks(network: nn.Module) -> set[str]:
    """What chains (:class:`torch.nn.Sequential`) are made of: modules of several modules, or activations where
    convolutions stand in the chain themselves, as in a VGG. Whole stages are among them, and put out what their last
    block does."""
    links = {link for chain in network.modules() if isinstance(chain, nn.Sequential) for link in chain}
    blocks = {link for link in links if any(link.children()) or type(link).__module__ == nn.ReLU.__module__}
    return {name for name, module in network.named_modules() if module in blocks}


class Regressor(nn.Module):
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


class StudentWithRegressors(nn.Module):
    """A student that also guesses the teacher's hints, each from a feature map of its own.

    Args:
        student: kept as it is; the guesses are this module's own, and of no use after the training.
        teacher: None for a student without hints, as where labels are stored.
        example_NCHW: any image, on the device of both.

    Attributes:
        places: of the hints, in the teacher.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module | None, example_NCHW: Tensor) -> None:
        super().__init__()
        self.student = student
        self.guesses = nn.ModuleList()
        self.places: list[FeatureMap] = []
        self._own_places: list[FeatureMap] = []
        if teacher is None:
            return
        own, given = find_feature_maps(student, example_NCHW), find_feature_maps(teacher, example_NCHW)
        for own_place, place in match_feature_maps(own, given):
            self._own_places.append(own_place)
            self.places.append(place)
            self.guesses.append(Regressor(own[own_place], given[place]).to(example_NCHW))

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        """The student's logits (N, K), then a guess (N, C, side, side) of each of :attr:`places`."""
        logits_NK, maps = forward_with_features(self.student, x_NCHW, self._own_places)
        return logits_NK, *(guess(maps[own]) for guess, own in zip(self.guesses, self._own_places, strict=True))


def match_feature_maps(
    own: Collection[FeatureMap], given: Collection[FeatureMap]
) -> list[tuple[FeatureMap, FeatureMap]]:
    """Pairs of the student's and the teacher's places, at the same share of those of their side."""
    pairs: list[tuple[FeatureMap, FeatureMap]] = []
    for side in dict.fromkeys(place.side for place in given):
        mine, theirs = ([place for place in places if place.side == side] for places in (own, given))
        count = min(PER_SIDE, len(mine), len(theirs))
        for part in range(1, count + 1):
            pairs.append((mine[len(mine) * part // count - 1], theirs[len(theirs) * part // count - 1]))
    return pairs
