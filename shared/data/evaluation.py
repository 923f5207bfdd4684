"""A classifier on labelled images: top-1, top-5, agreement with its teacher, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.preprocessing import Preprocessing
from .confusion import count_confusions
from .labelled import LabelledSet, labelled_batches

TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        name: the images, as they were named.
        images: how many they are.
        top1, top5: shares of the images whose label has the highest logit, or one of the five highest; 0 to 1.
        agreement: share of the images for which the teacher's highest logit is at the same class; None without one.
        confusion: int64 (K, K), the images by true class (rows) and by the class that was answered.
    """

    name: str
    images: int
    top1: float
    top5: float
    agreement: float | None
    confusion: Tensor


@torch.no_grad()
def evaluate(
    logits_of: Callable[[Tensor], Tensor],
    images: LabelledSet,
    preprocessing: Preprocessing,
    *,
    num_classes: int,
    teacher_logits_of: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 256,
) -> Evaluation:
    """Measure a classifier on labelled images.

    Args:
        logits_of: logits (N, K) of pixels, uint8 (N, C, H, W).
        preprocessing: of the classifier; its size is that of the pixels.
        teacher_logits_of: the same of its teacher.

    Raises:
        ConfigError: the set is empty or cannot be read, or there are too many classes.
    """
    among_five = agreed = 0
    confusion_KK = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for pixels_NCHW, labels_N in labelled_batches(images, preprocessing, batch_size):
        logits_NK = logits_of(pixels_NCHW).cpu()
        given_N = logits_NK.argmax(1)
        top_NT = logits_NK.topk(min(TOP, num_classes), dim=1).indices
        among_five += int((top_NT == labels_N[:, None]).any(1).sum())
        confusion_KK += count_confusions(labels_N, given_N, num_classes)
        if teacher_logits_of is not None:
            agreed += int((teacher_logits_of(pixels_NCHW).argmax(1).cpu() == given_N).sum())
    count = int(confusion_KK.sum())
    return Evaluation(
        name=images.name,
        images=count,
        top1=int(confusion_KK.diagonal().sum()) / count,
        top5=among_five / count,
        agreement=agreed / count if teacher_logits_of is not None else None,
        confusion=confusion_KK,
    )
