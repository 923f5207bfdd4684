"""Lessons: what a student sees of a batch, and what it is to say of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..shared.core.launch import Rows
from ..shared.core.numerics import at_least_float32
from ..shared.data.augment import random_flip, random_resized_crop, random_shift
from ..shared.models.classifier import Preprocessing
from ..shared.shards.batches import Batch
from .criterion import distillation_loss, feature_loss, soften
from .dead_leaves import dead_leaves
from .distributed import Group
from .features import FeatureMap, forward_with_features
from .mixing import mixed
from .recipe import Training

PAD_SHARE = 8  # the shift is up to a side / 8: 4 pixels of 32, as CIFAR recipes have it


@dataclass(frozen=True, slots=True)
class Lesson:
    """Augmented images (N, C, H, W); which rows of the whole batch they are; their soft labels (N, K); the teacher's
    hints (N, C, side, side)."""

    x_NCHW: Tensor
    rows: Rows
    labels_NK: Tensor
    hints: list[Tensor]

    @property
    def share(self) -> float:
        """The weight of a mean over these images in the mean of the processes: they may have one image more or less."""
        return len(self.x_NCHW) * self.rows.step / self.rows.total


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Makes lessons of batches. Random numbers come from torch's default generators, which the trainer seeds.

    Args:
        teacher: asked for the soft labels of each augmented image; None uses the stored logits.
        places: of the hints in the teacher; none without one.
        preprocessing: of the teacher, whose images these are.
        group: of the processes that take a batch together.
    """

    training: Training
    teacher: nn.Module | None
    places: list[FeatureMap]
    preprocessing: Preprocessing
    group: Group

    @torch.no_grad()
    def of(self, batch: Batch) -> Lesson:
        """A lesson of this process's rows of the batch; with mixup it must hold all of them."""
        x_NCHW, labels_NK, rows = self._views(batch)
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        if labels_NK is not None:
            return Lesson(x_NCHW, rows, labels_NK, [])
        assert self.teacher is not None
        with autocast(x_NCHW):
            logits_NK, maps = forward_with_features(self.teacher, x_NCHW, self.places)
        labels_NK = soften(logits_NK, self.training.temperature)
        return Lesson(x_NCHW, rows, labels_NK, [maps[place] for place in self.places])

    def _views(self, batch: Batch) -> tuple[Tensor, Tensor | None, Rows]:
        """Augmented images (N, C, H, W), their soft labels (N, K) if those are stored, and which rows they are."""
        training = self.training
        x_NCHW, rows = self.preprocessing.normalize(batch.images), batch.rows
        crop = training.crop
        if crop == "auto":
            crop = "pad" if self.teacher is None else "resized"  # a stored label is of the whole image
        if crop == "pad":
            x_NCHW = random_shift(x_NCHW, rows, max(1, self.preprocessing.image_size // PAD_SHARE))
        elif crop == "resized":
            x_NCHW = random_resized_crop(x_NCHW, rows, training.min_area)
        if training.flip:
            x_NCHW = random_flip(x_NCHW, rows)
        labels_NK = soften(batch.logits, training.temperature) if self.teacher is None else None
        if training.mixup:
            x_NCHW, partner_N, share_N = mixed(
                x_NCHW, training.mixup, shape_cutmix=training.shape_cutmix, strangers_NCHW=self._strangers(x_NCHW)
            )
            if labels_NK is not None:
                labels_NK = torch.lerp(labels_NK[partner_N], labels_NK, share_N[:, None].to(labels_NK))
            rows = Rows.of(rows.total, self.group.place)
            x_NCHW, labels_NK = rows.take(x_NCHW), None if labels_NK is None else rows.take(labels_NK)
        return x_NCHW, labels_NK, rows

    def _strangers(self, x_NCHW: Tensor) -> Tensor | None:
        """Dead leaves for a share of the batch; none where nobody can be asked what they show."""
        count = round(self.training.dead_leaves * len(x_NCHW)) if self.teacher is not None else 0
        return dead_leaves(count, self.preprocessing, x_NCHW.device) if count else None

    def loss(self, lesson: Lesson, said: tuple[Tensor, ...]) -> Tensor:
        """Of the student's logits (N, K) and its guesses of the hints: mean over this process's images."""
        logits_NK, *guesses = said
        loss = distillation_loss(logits_NK, lesson.labels_NK, self.training.temperature)
        if not guesses:
            return loss
        squares = torch.stack([at_least_float32(hint).square().mean() for hint in lesson.hints])
        each = zip(guesses, lesson.hints, self.group.mean(lesson.share * squares), strict=True)
        return loss + self.training.feature_weight * torch.stack([feature_loss(*hint) for hint in each]).mean()


def autocast(x: Tensor) -> torch.autocast:
    """bfloat16 for the networks on CUDA."""
    return torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda")
