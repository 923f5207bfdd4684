"""Hints: the teacher's feature maps, which a student learns to tell beside its answers (FitNets, Romero et al. 2015).

An image has one answer of K numbers, and feature maps of many more: where images are few and not quite natural, they
say most of what the teacher knows. Hints are given at the sides, in pixels, that teacher and student have in common,
whatever their architectures: the outputs of blocks, as many of a side as both have, in pairs of about equal depth.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PER_SIDE = 3  # hints, at most: each costs a 1x1 convolution of the student's map
NEWEST = -1


class Place(NamedTuple):
    """A square feature map of a network, of ``side`` pixels: what that side's block ``number`` puts out, from 0;
    where a side has no blocks, as in a stem, its last map of all, ``NEWEST``."""

    side: int
    number: int


Maps = dict[Place, Tensor]  # (N, C, side, side)


def observe(network: nn.Module, x_NCHW: Tensor, places: Collection[Place] | None = None) -> tuple[Tensor, Maps]:
    """The logits (N, K), and the feature maps at these places, or at all, in the order of appearance."""
    if places is not None and not places:
        return network(x_NCHW), {}
    blocks = _blocks(network)
    maps: Maps = {}
    ends: dict[int, tuple[int, Tensor]] = {}  # of the newest block of each side, its number and output

    def keep(module: nn.Module, _inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[2] != out.shape[3] or out.shape[3] == 1:
            return
        side = out.shape[3]
        place = Place(side, NEWEST)
        if module in blocks:
            number, end = ends.get(side, (NEWEST, None))
            if out is end:
                return
            place = Place(side, number + 1)
            ends[side] = place.number, out
        if places is None or place in places:
            maps[place] = out

    with ExitStack() as hooks:
        for module in network.modules():
            hooks.callback(module.register_forward_hook(keep).remove)
        return network(x_NCHW), maps


def _blocks(network: nn.Module) -> set[nn.Module]:
    """What chains (:class:`torch.nn.Sequential`) are made of: modules of several modules, or activations where
    convolutions stand in the chain themselves, as in a VGG. Whole stages are among them, and put out what their last
    block does."""
    links = [link for chain in network.modules() if isinstance(chain, nn.Sequential) for link in chain]
    return {link for link in links if any(link.children()) or type(link).__module__ == nn.ReLU.__module__}


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
        self.places: list[Place] = []
        self._own_places: list[Place] = []
        if teacher is None:
            return
        own, given = _maps(student, example_NCHW), _maps(teacher, example_NCHW)
        for own_place, place in in_common(own, given):
            self._own_places.append(own_place)
            self.places.append(place)
            self.guesses.append(Guess(own[own_place].shape[1], given[place].shape[1]).to(example_NCHW))

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, ...]:
        """The student's logits (N, K), then a guess (N, C, side, side) of each of :attr:`places`."""
        logits_NK, maps = observe(self.student, x_NCHW, self._own_places)
        return logits_NK, *(guess(maps[own]) for guess, own in zip(self.guesses, self._own_places, strict=True))


def in_common(own: Collection[Place], given: Collection[Place]) -> list[tuple[Place, Place]]:
    """Pairs of the student's and the teacher's places, at the same share of the blocks of their side."""
    pairs: list[tuple[Place, Place]] = []
    for side in dict.fromkeys(place.side for place in given):
        mine, theirs = _of_side(own, side), _of_side(given, side)
        count = min(PER_SIDE, len(mine), len(theirs))
        for part in range(1, count + 1):
            pairs.append((mine[len(mine) * part // count - 1], theirs[len(theirs) * part // count - 1]))
    return pairs


def _of_side(places: Collection[Place], side: int) -> list[Place]:
    """The blocks; where there are none, the last map."""
    found = sorted(place for place in places if place.side == side)
    return [place for place in found if place.number != NEWEST] or found


@torch.no_grad()
def _maps(network: nn.Module, example_NCHW: Tensor) -> Maps:
    was_training = network.training
    _, maps = observe(network.eval(), example_NCHW)
    network.train(was_training)
    return maps
