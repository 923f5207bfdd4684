"""The training loop: a student learns to answer as the teacher does on the shards' images.

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

from ..shared.augment import random_flip, random_resized_crop, random_shift
from ..shared.errors import DreamError
from ..shared.loaders import Batch, Loader, Rows
from ..shared.progress import Progress
from ..shared.results import ResultFolder
from ..shared.runtime import derive_seed, write_bytes
from ..shared.schedules import lr_factor
from ..shared.teachers import Preprocessing
from .distributed import ALONE, Group
from .mixing import mixup
from .objective import distillation_loss, soften
from .recipe import Training

Forward = Callable[
    [Tensor, Rows], Tensor
]  # the student's: rows of a batch (N, C, H, W), which they are -> logits (N, K)
PAD_SHARE = 8  # the shift is up to a side / 8: 4 pixels of 32, as CIFAR recipes have it


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
        teacher: asked for the soft labels of each augmented image; None uses the stored logits.
        preprocessing: of the teacher, whose images these are.
        folder: gets ``checkpoint.pt`` and ``metrics.jsonl`` at the end of each epoch, from the group's first process.
        title: for the progress bar.
        group: of the processes that train this student together.

    Raises:
        DreamError: the loss became NaN, or the checkpoint is damaged.
    """
    device = next(student.parameters()).device
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in student.parameters() if p.ndim > 1]
    others = [p for p in student.parameters() if p.ndim <= 1]  # biases and BatchNorm: decay only hurts them
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=training.lr,
        momentum=training.momentum,
        nesterov=training.momentum > 0,
    )
    epochs = training.passes(len(loader))
    steps, warmup = epochs * len(loader), training.warmup_epochs * len(loader)
    scheduler = LambdaLR(optimizer, lambda step: lr_factor(step, steps, warmup=warmup))
    parts: dict[str, Any] = {"student": student, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    if group.is_first:
        folder.begin()
    history = _restore(folder, parts, device, group)
    forward = group.together(student, preprocessing.blank(1, device))
    with Progress(title, total=epochs, unit="epochs") if group.is_first else nullcontext() as bar:
        if bar is not None:
            bar.advance(len(history))
        for epoch in range(len(history), epochs):
            begun = time.monotonic()
            torch.manual_seed(derive_seed(seed, epoch))  # so that a resumed run draws what an uninterrupted one draws
            student.train()
            loss = _one_epoch(forward, loader, training, teacher, preprocessing, optimizer, scheduler, group)
            history.append({"epoch": epoch + 1, "loss": loss, "seconds": round(time.monotonic() - begun, 3)})
            if bar is not None:
                _save(folder, parts, history)
                bar.advance(1, loss=loss, lr=optimizer.param_groups[0]["lr"])
    student.eval()


def _one_epoch(
    forward: Forward,
    loader: Loader,
    training: Training,
    teacher: nn.Module | None,
    preprocessing: Preprocessing,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    group: Group,
) -> float:
    total = torch.zeros(())
    count = 0
    for batch in loader:
        if batch.rows.total < 2:
            continue  # BatchNorm has no variance to take of one image
        x_NCHW, labels_NK, rows = _views(batch, training, teacher, preprocessing, group)
        with torch.autocast(x_NCHW.device.type, torch.bfloat16, enabled=x_NCHW.device.type == "cuda"):
            logits_NK = forward(x_NCHW, rows)
        # The group takes the mean of its processes' gradients, whose shares of a batch may differ by one image.
        share = len(x_NCHW) * rows.step / rows.total
        loss = share * distillation_loss(logits_NK, labels_NK, training.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total = total.to(loss.device) + loss.detach() * rows.total
        count += rows.total
    mean = float(group.mean(total)) / max(1, count)  # the epoch's one host sync
    if mean != mean or mean == float("inf"):
        raise DreamError("the training loss became NaN; run again with --overwrite and a lower --lr")
    return mean


@torch.no_grad()
def _views(
    batch: Batch, training: Training, teacher: nn.Module | None, preprocessing: Preprocessing, group: Group
) -> tuple[Tensor, Tensor, Rows]:
    """The augmented images (N, C, H, W), their soft labels (N, K), and which rows of the whole batch they are."""
    x_NCHW, rows = preprocessing.normalize(batch.images), batch.rows
    crop = training.crop
    if crop == "auto":
        crop = "pad" if teacher is None else "resized"  # a stored label is of the whole image
    if crop == "pad":
        x_NCHW = random_shift(x_NCHW, rows, max(1, preprocessing.image_size // PAD_SHARE))
    elif crop == "resized":
        x_NCHW = random_resized_crop(x_NCHW, rows, training.min_area)
    if training.flip:
        x_NCHW = random_flip(x_NCHW, rows)
    labels_NK = soften(batch.logits, training.temperature) if teacher is None else None
    if training.mixup:
        x_NCHW, partner_N, share = mixup(x_NCHW, training.mixup)
        if labels_NK is not None:
            labels_NK = share * labels_NK + (1 - share) * labels_NK[partner_N]
        rows = Rows.of(rows.total, group.place)
        x_NCHW, labels_NK = rows.take(x_NCHW), None if labels_NK is None else rows.take(labels_NK)
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    if labels_NK is None:
        assert teacher is not None
        with torch.autocast(x_NCHW.device.type, torch.bfloat16, enabled=x_NCHW.device.type == "cuda"):
            labels_NK = soften(teacher(x_NCHW), training.temperature)
    return x_NCHW, labels_NK, rows


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
