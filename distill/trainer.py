"""The training loop: a student learns to answer as the teacher does on the shards' images."""

from __future__ import annotations

import io
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ..shared.errors import DreamError
from ..shared.loaders import Batch, Loader
from ..shared.progress import Progress
from ..shared.results import ResultFolder
from ..shared.runtime import derive_seed, write_bytes
from ..shared.schedules import lr_factor
from ..shared.teachers import Preprocessing
from .augment import mixup, random_flip, random_resized_crop, random_shift
from .objective import distillation_loss, soften
from .recipe import Training

RESIZED_ABOVE = 64  # pixels; smaller images are shifted, not rescaled, by ``--crop auto``


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
) -> None:
    """Train in place, going on from the folder's checkpoint if there is one.

    Args:
        student: on the device to train on.
        teacher: asked for the soft labels of each augmented image; None uses the stored logits.
        preprocessing: of the teacher, whose images these are.
        folder: gets ``checkpoint.pt`` and ``metrics.jsonl`` at the end of each epoch.
        title: for the progress bar.

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
    steps, warmup = training.epochs * len(loader), training.warmup_epochs * len(loader)
    scheduler = LambdaLR(optimizer, lambda step: lr_factor(step, steps, warmup=warmup))
    parts: dict[str, Any] = {"student": student, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    folder.begin()
    history = _restore(folder, parts, device)
    with Progress(title, total=training.epochs, unit="epochs") as bar:
        bar.advance(len(history))
        for epoch in range(len(history), training.epochs):
            begun = time.monotonic()
            torch.manual_seed(derive_seed(seed, epoch))  # so that a resumed run draws what an uninterrupted one draws
            loss = _one_epoch(student, loader, training, teacher, preprocessing, optimizer, scheduler)
            history.append({"epoch": epoch + 1, "loss": loss, "seconds": round(time.monotonic() - begun, 3)})
            _save(folder, parts, history)
            bar.advance(1, loss=loss, lr=optimizer.param_groups[0]["lr"])
    student.eval()


def _one_epoch(
    student: nn.Module,
    loader: Loader,
    training: Training,
    teacher: nn.Module | None,
    preprocessing: Preprocessing,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
) -> float:
    student.train()
    total: Tensor | float = 0.0
    count = 0
    for batch in loader:
        if len(batch) < 2:
            continue  # BatchNorm has no variance to take of one image
        x_NCHW, labels_NK = _views(batch, training, teacher, preprocessing)
        with torch.autocast(x_NCHW.device.type, torch.bfloat16, enabled=x_NCHW.device.type == "cuda"):
            logits_NK = student(x_NCHW)
        loss = distillation_loss(logits_NK, labels_NK, training.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        total = total + loss.detach() * len(batch)
        count += len(batch)
    mean = float(total) / max(1, count)  # the epoch's one host sync
    if mean != mean or mean == float("inf"):
        raise DreamError("the training loss became NaN; run again with --overwrite and a lower --lr")
    return mean


@torch.no_grad()
def _views(
    batch: Batch, training: Training, teacher: nn.Module | None, preprocessing: Preprocessing
) -> tuple[Tensor, Tensor]:
    """The augmented images (N, C, H, W) and their soft labels (N, K)."""
    x_NCHW = preprocessing.normalize(batch.images)
    crop = training.crop
    if crop == "auto":
        crop = "resized" if preprocessing.image_size > RESIZED_ABOVE else "pad"
    if crop == "pad":
        x_NCHW = random_shift(x_NCHW)
    elif crop == "resized":
        x_NCHW = random_resized_crop(x_NCHW, training.min_area)
    if training.flip:
        x_NCHW = random_flip(x_NCHW)
    labels_NK = soften(batch.logits, training.temperature) if teacher is None else None
    if training.mixup:
        x_NCHW, partner_N, share = mixup(x_NCHW, training.mixup)
        if labels_NK is not None:
            labels_NK = share * labels_NK + (1 - share) * labels_NK[partner_N]
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    if labels_NK is None:
        assert teacher is not None
        with torch.autocast(x_NCHW.device.type, torch.bfloat16, enabled=x_NCHW.device.type == "cuda"):
            labels_NK = soften(teacher(x_NCHW), training.temperature)
    return x_NCHW, labels_NK


def _restore(folder: ResultFolder, parts: dict[str, Any], device: torch.device) -> list[dict[str, Any]]:
    if not folder.checkpoint.exists():
        return []
    try:
        saved = torch.load(folder.checkpoint, map_location=device, weights_only=True)
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
