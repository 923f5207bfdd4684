"""The training loop: a student learns to answer, and to see, as the teacher does on the shards' images.

One process, or a group of them that take each step together: the same steps, but for rounding.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ..shared.cli.progress import ProgressBar
from ..shared.core.errors import DreamError
from ..shared.core.files import write_bytes
from ..shared.core.launch import Rows
from ..shared.core.numerics import derive_seed, lr_factor
from ..shared.models.classifier import Preprocessing
from ..shared.models.results import ResultFolder
from ..shared.shards.batches import Batch, Loader
from .distributed import ALONE, Group
from .features import StudentWithRegressors
from .muon import Muon
from .recipe import Training
from .views import Lessons, autocast

ADAM_LR, ADAM_BETA2 = 0.2, 0.99  # for biases and BatchNorms; the first is a share of the matrices' learning rate

# Rows of a batch (N, C, H, W), which they are -> the student's logits (N, K), and its guesses of the teacher's hints
Forward = Callable[[Tensor, Rows], tuple[Tensor, ...]]


def train(
    student: nn.Module,
    loader: Loader,
    training: Training,
    *,
    teacher: nn.Module | None,
    preprocessing: Preprocessing,
    folder: ResultFolder,
    seed: int,
    title: str,
    group: Group = ALONE,
) -> None:
    """Train in place, going on from the folder's checkpoint if there is one.

    Args:
        student: on the device to train on.
        loader: gives this process's rows of each batch; with mixup the whole batch, since any image may be a partner.
        teacher: asked for the soft labels of each augmented image and for hints, unless the stored logits are to be
            the labels; None uses those.
        preprocessing: of the teacher, whose images these are.
        folder: gets ``checkpoint.pt`` and ``metrics.jsonl`` at the end of each epoch, from the group's first process.
        title: for the progress bar.
        group: of the processes that train this student together.

    Raises:
        DreamError: the loss became NaN, or the checkpoint is damaged.
    """
    device = next(student.parameters()).device
    torch.manual_seed(seed)  # the first weights of what guesses hints
    hinted, lessons, optimizers = set_up(student, teacher, training, preprocessing=preprocessing, group=group)
    epochs = training.passes(len(loader))
    steps, warmup = epochs * len(loader), training.warmup_epochs * len(loader)
    schedulers = [LambdaLR(each, lambda step: lr_factor(step, steps, warmup=warmup)) for each in optimizers]
    parts: dict[str, Any] = {
        "student": hinted,
        "loader": loader,
        **{f"optimizer {number}": optimizer for number, optimizer in enumerate(optimizers)},
        **{f"scheduler {number}": scheduler for number, scheduler in enumerate(schedulers)},
    }
    if group.is_first:
        folder.begin()
    history = _restore(folder, parts, device, group)
    forward = group.together(hinted, preprocessing.blank(1).to(next(student.parameters())))
    with ProgressBar(title, total=epochs, unit="epochs") if group.is_first else nullcontext() as bar:
        if bar is not None:
            bar.advance(len(history))
        for epoch in range(len(history), epochs):
            begun = time.monotonic()
            torch.manual_seed(derive_seed(seed, epoch))  # so that a resumed run draws what an uninterrupted one draws
            hinted.train()
            loss = _one_epoch(forward, loader, lessons, optimizers, schedulers, group)
            history.append({"epoch": epoch + 1, "loss": loss, "seconds": round(time.monotonic() - begun, 3)})
            if bar is not None:
                _save(folder, parts, history)
                bar.advance(1, loss=loss, lr=optimizers[0].param_groups[0]["lr"])
    student.eval()


def set_up(
    student: nn.Module, teacher: nn.Module | None, training: Training, *, preprocessing: Preprocessing, group: Group
) -> tuple[StudentWithRegressors, Lessons, list[torch.optim.Optimizer]]:
    """What :func:`take_step` takes for this student, which is on the device to train on."""
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if training.labels == "stored":
        teacher = None
    example_NCHW = preprocessing.blank(1).to(next(student.parameters()))
    hinted = StudentWithRegressors(student, teacher if training.feature_weight else None, example_NCHW)
    lessons = Lessons(
        training=training, teacher=teacher, places=hinted.places, preprocessing=preprocessing, group=group
    )
    return hinted, lessons, _optimizers(hinted, training)


def _optimizers(hinted: StudentWithRegressors, training: Training) -> list[torch.optim.Optimizer]:
    """Muon for the weights of a student and its guesses; Adam for biases and BatchNorms, where there are any."""
    matrices = [p for p in hinted.parameters() if p.ndim > 1]
    vectors = [p for p in hinted.parameters() if p.ndim <= 1]
    muon = Muon(matrices, lr=training.lr, momentum=training.momentum)
    betas = training.momentum, ADAM_BETA2
    return [muon, torch.optim.Adam(vectors, lr=training.lr * ADAM_LR, betas=betas)] if vectors else [muon]


def take_step(forward: Forward, batch: Batch, lessons: Lessons, optimizers: list[torch.optim.Optimizer]) -> Tensor:
    """Learn from a batch. Returns this process's part of the loss, whose mean over the group is the batch's."""
    lesson = lessons.of(batch)
    with autocast(lesson.x_NCHW):
        said = forward(lesson.x_NCHW, lesson.rows)
    loss = lesson.share * lessons.loss(lesson, said)  # the group takes the mean of its processes' gradients
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.detach()


def _one_epoch(
    forward: Forward,
    loader: Loader,
    lessons: Lessons,
    optimizers: list[torch.optim.Optimizer],
    schedulers: list[LambdaLR],
    group: Group,
) -> float:
    total = torch.zeros(())
    count = 0
    for batch in loader:
        if batch.rows.total < 2:
            continue  # BatchNorm has no variance to take of one image
        loss = take_step(forward, batch, lessons, optimizers)
        for scheduler in schedulers:
            scheduler.step()
        total = total.to(loss.device) + loss * batch.rows.total
        count += batch.rows.total
    mean = float(group.mean(total)) / max(1, count)  # the epoch's one host sync
    if mean != mean or mean == float("inf"):
        raise DreamError("the training loss became NaN; run again with --overwrite and a lower --lr")
    return mean


def _restore(folder: ResultFolder, parts: dict[str, Any], device: torch.device, group: Group) -> list[dict[str, Any]]:
    """Go on from the checkpoint that the first process sees, everywhere, and return its history."""
    found = folder.checkpoint.read_bytes() if group.is_first and folder.checkpoint.exists() else None
    found = group.from_first(found)
    if found is None:
        return []
    try:
        saved = torch.load(io.BytesIO(found), map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    except Exception as error:  # of a damaged file, torch's unpickler may raise anything
        raise DreamError(f"{folder.checkpoint} is damaged; run again with --overwrite") from error
    return saved["history"]


def _save(folder: ResultFolder, parts: dict[str, Any], history: list[dict[str, Any]]) -> None:
    # By way of memory: on a full disk torch.save raises a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.save({"history": history, **{name: part.state_dict() for name, part in parts.items()}}, buffer)
    write_bytes(folder.checkpoint, buffer.getvalue())
    folder.write_metrics(history)
