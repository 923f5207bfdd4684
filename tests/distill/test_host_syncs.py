"""A training step does not wait for the device: it reads no value on the host, and no shape depends on one.

On a GPU every such read stops the queue of kernels. The operations that do it can be seen on the CPU too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dreamdistill.distill.criterion import Distillation
from dreamdistill.distill.muon import Muon
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.step import Step, set_up
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.students import new_network
from dreamdistill.shared.shards.batches import Batch

SYNCS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::unique2"}


def is_mask(index: object) -> bool:
    """Whether an index makes the shape of the result depend on values."""
    return isinstance(index, torch.Tensor) and index.dtype is torch.bool


class Seen(TorchDispatchMode):
    """Counts the operations that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name.startswith("aten::index") and any(is_mask(index) for index in args[1])
        if name in SYNCS or by_mask:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def seen() -> Iterator[Counter[str]]:
    with Seen() as mode:
        yield mode.counts


def test_the_mode_sees_what_it_should() -> None:
    x = torch.arange(4)
    with seen() as counts:
        float(x[0])
        x[x > 1]
    assert counts == {"aten::_local_scalar_dense": 1, "aten::index": 1}


@pytest.mark.parametrize(
    ("changes", "host_draws"),
    [
        ({"mixup": 0.0}, 0),
        ({"mixup": 0.0, "crop": "pad"}, 0),
        ({}, 1),  # the share of mixup, one number for the batch, is drawn on the host, for any device
        ({"labels": "stored"}, 1),
    ],
)
def test_a_training_step_reads_nothing_on_the_host(changes: dict[str, Any], host_draws: int) -> None:
    teacher = load_model("digits_cnn")
    training = Training(batch_size=12, **changes)
    _, student = new_network("digits_cnn_small", num_classes=10, preprocessing=teacher.preprocessing, seed=0)
    example_NCHW = teacher.preprocessing.blank(1)
    criterion = Distillation.of(training, student=student, teacher=teacher.network, example_NCHW=example_NCHW)
    network, optimizers = set_up(student, criterion, training, teacher.preprocessing.blank(1))
    step = Step.of(
        network.train(),
        criterion,
        views=criterion.views(training, teacher.preprocessing),
        example_NCHW=example_NCHW,
        # Adam counts its steps in tensors on the host, on any device.
        optimizers=[optimizer for optimizer in optimizers if isinstance(optimizer, Muon)],
    )
    pixels = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8)
    batch = Batch(pixels, torch.randn(12, 10), torch.arange(12) % 10, Rows(12))
    step(batch)  # the first step makes the optimizer's state
    with seen() as counts:
        step(batch)
    assert counts == ({"aten::_local_scalar_dense": host_draws} if host_draws else {})
