"""The time that a training would take, from one eager step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..shared.core.launch import Rows
from ..shared.models.cost import MACS_PER_SECOND, count_macs, seconds_for
from ..shared.models.preprocessing import Preprocessing
from ..shared.shards.batches import Batch
from .criterion import Criterion
from .muon import multiply_adds
from .recipe import Training
from .step import seconds_per_step
from .views import View


def seconds_a_step(
    student: nn.Module,
    frozen: nn.Module | None,
    criterion: Criterion,
    *,
    views: Callable[[Batch], View],
    training: Training,
    preprocessing: Preprocessing,
    num_classes: int,
    images: int,
) -> float:
    """Seconds of one step of this process, not compiled, found in a few seconds
    (:func:`~..shared.models.cost.seconds_for`). Changes the student's weights.

    Args:
        frozen: the network that answers for the student's images in each step; None where none does.
        num_classes: of the stored logits.
        images: of this process's part of a batch, 2 or more.
    """
    device = next(student.parameters()).device
    example_NCHW = preprocessing.blank(1, device)

    def seconds(count: int) -> float:
        batch = Batch(
            preprocessing.to_pixels(preprocessing.blank(count, device)),
            torch.zeros(count, num_classes, device=device),
            torch.zeros(count, dtype=torch.long, device=device),
            Rows(count),
        )
        return seconds_per_step(student, batch, criterion, views=views, training=training, example_NCHW=example_NCHW)

    one = sum(count_macs(each, example_NCHW) for each in (student, frozen) if each is not None)
    rate = MACS_PER_SECOND[device.type]
    fixed = multiply_adds(student.parameters()) / rate
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return seconds_for(
            seconds,
            images,
            least=2,
            smallest=fixed + 2 * one / rate,
            guess=fixed + images * one / rate,
            device=device,
        )
