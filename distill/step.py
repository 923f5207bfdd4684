"""One step of a training: views of a batch, their targets, the losses, and what the optimizers do with them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..shared.core.launch import Rows
from ..shared.core.numerics import autocast
from ..shared.models.compiling import REPAID_FROM_MACS, Compiler
from ..shared.models.cost import count_macs
from ..shared.models.layout import common_layout
from ..shared.shards.batches import Batch
from ..shared.shards.folder import ShardFolder
from .criterion import Criterion, total
from .distributed import ALONE, Group
from .muon import Muon
from .recipe import Training
from .views import View

ADAM_LR, ADAM_BETA2 = 0.2, 0.99  # for biases and BatchNorms; the first is a share of the matrices' learning rate

# Network input (N, C, H, W), which rows of the whole batch it is, and the targets -> the parts of the loss.
Losses = Callable[[Tensor, Rows, tuple[Tensor, ...]], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of gradient descent.

    Attributes:
        losses: forward pass of the module to train, and the criterion.
    """

    losses: Losses
    views: Callable[[Batch], View]
    criterion: Criterion
    optimizers: Sequence[torch.optim.Optimizer]

    @classmethod
    def of(
        cls,
        network: nn.Module,
        criterion: Criterion,
        *,
        optimizers: Sequence[torch.optim.Optimizer],
        views: Callable[[Batch], View],
        example_NCHW: Tensor,
        group: Group = ALONE,
        compiler: Compiler | None = None,
    ) -> Step:
        """A step of all processes of the group together.

        Args:
            network: the module to train (:func:`set_up`).
            compiler: makes one graph of the network and the losses. In several processes they run eager all the same:
                the BatchNorms exchange statistics in the middle of the network.
        """
        forward = group.parallel(network, example_NCHW)

        def losses(x_NCHW: Tensor, rows: Rows, targets: tuple[Tensor, ...]) -> dict[str, Tensor]:
            with autocast(x_NCHW):
                outputs = forward(x_NCHW, rows)
            return criterion.parts(outputs, targets)

        if compiler is not None and group.place.world == 1:
            losses = compiler(losses, "the student", trains=network)
        return cls(losses=losses, views=views, criterion=criterion, optimizers=optimizers)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Learn from a batch. Returns ``loss`` and its parts by name, of this process: the mean over the group is the
        batch's loss."""
        view = self.views(batch)
        if view.x_NCHW.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()  # the memory of the last step's graphs may be used again
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with torch.no_grad():
            targets = self.criterion.targets(view)
        parts = self.losses(view.x_NCHW, view.rows, targets)
        loss = view.weight * total(parts)  # the group takes the mean of its processes' gradients
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        named = {name: view.weight * part.detach() for name, part in parts.items()}
        return {"loss": loss.detach(), **{name: value for name, value in named.items() if name != "loss"}}


def set_up(
    student: nn.Module, criterion: Criterion, training: Training, example_NCHW: Tensor
) -> tuple[nn.Module, Sequence[torch.optim.Optimizer]]:
    """The module to train, and its optimizers: Muon for weights, Adam for biases and BatchNorms if there are any."""
    layout = common_layout([student], example_NCHW.to(next(student.parameters())))
    student.to(memory_format=layout)  # type: ignore[call-overload]
    network = criterion.wrap(student)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    muon = Muon(matrices, lr=training.lr, momentum=training.momentum)
    betas = training.momentum, ADAM_BETA2
    adam = [torch.optim.Adam(vectors, lr=training.lr * ADAM_LR, betas=betas, fused=True)] if vectors else []
    return network, [muon, *adam]


def images_seen(training: Training, shards: ShardFolder) -> int:
    """How many images a student sees in all passes together."""
    return training.passes(shards.num_batches(training.batch_size)) * shards.num_samples


def choose_compiler(
    training: Training,
    *,
    student: nn.Module,
    teacher: nn.Module | None,
    images: int,
    example_NCHW: Tensor,
    title: str,
    group: Group = ALONE,
) -> Compiler | None:
    """What compiles the step; None where it runs eager.

    ``auto`` depends on the amount of work alone, not on a clock, so that the same command trains the same student on a
    machine that is busy.

    Args:
        images: that the student sees in all passes together.
        title: of the training, ahead of lines for the user.
    """
    device = example_NCHW.device
    if training.compile == "auto":
        # The rate is that of forward and backward passes; a forward pass alone is a third of both.
        one = count_macs(student, example_NCHW) + (count_macs(teacher, example_NCHW) / 3 if teacher else 0)
        if images * one < REPAID_FROM_MACS[device.type]:
            return None
    elif training.compile == "off":
        return None

    def log(line: str) -> None:
        if group.is_first:
            print(f"{title}: {line}", file=sys.stderr, flush=True)

    # The last batch of an epoch may be smaller: that step runs eager.
    return Compiler(device=device, log=log, shapes=1)


def seconds_per_step(
    student: nn.Module,
    batch: Batch,
    criterion: Criterion,
    *,
    views: Callable[[Batch], View],
    training: Training,
    example_NCHW: Tensor,
) -> float:
    """The time that one process takes for one eager step with this batch. Changes the student's weights."""
    network, optimizers = set_up(student, criterion, training, example_NCHW)
    step = Step.of(network.train(), criterion, optimizers=optimizers, views=views, example_NCHW=example_NCHW)
    started = time.monotonic()
    float(step(batch)["loss"])  # waits for the device
    seconds = time.monotonic() - started
    criterion.release(network)
    return seconds
