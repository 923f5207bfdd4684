"""What a whole network computes, as the target of the networks that are cut from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.cost import count_macs
from .observation import Observation, observe
from .values import Answers

FIT_IMAGES = 512  # of a repair by least squares, at most
FIT_PIXELS = 2**24  # of these images together, at most: all are in memory at once
VALUE_IMAGES = 24, 144  # that one part is valued on: fewest and most; a third of them after the fit to the others
VALUE_MACS = 4e9  # of a forward pass of these images, about: as many as cost this
VALUE_ROWS = 2048  # samples of a layer, when a part is valued


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the whole network computes: cut networks are fitted to it and compared with it.

    Attributes:
        whole: for a repair.
        few: for a try, which is repaired for few images alone.
        unseen: its logits for other images, on which a try is valued.
    """

    whole: Observation
    few: Observation
    unseen: Answers

    @classmethod
    def of(cls, network: nn.Module, blocks: Sequence[str], batches: Iterable[Tensor], example_NCHW: Tensor) -> Targets:
        """For the first images of some batches.

        Args:
            network: the whole one, in eval mode.
            blocks: names of its residual blocks that may go.
            batches: network input, (N, C, H, W) each.
            example_NCHW: one image; only its shape matters.
        """
        pixels = example_NCHW.shape[2] * example_NCHW.shape[3]
        x_NCHW = first_images(batches, min(FIT_IMAGES, max(2, FIT_PIXELS // pixels)))
        count = int(VALUE_MACS / count_macs(network, example_NCHW))
        few = min(max(count, VALUE_IMAGES[0]), VALUE_IMAGES[1], len(x_NCHW))
        fitted = few - few // 3
        return cls(
            whole=observe(network, x_NCHW, blocks=blocks),
            few=observe(network, x_NCHW[:fitted], blocks=blocks, rows=VALUE_ROWS),
            unseen=Answers.of(network, x_NCHW[fitted:few]),
        )


def first_images(batches: Iterable[Tensor], most: int) -> Tensor:
    """The first images of some batches, (N, C, H, W) with at most so many."""
    found: list[Tensor] = []
    for x_NCHW in batches:
        found.append(x_NCHW[:most])
        most -= len(found[-1])
        if not most:
            break
    return torch.cat(found)
