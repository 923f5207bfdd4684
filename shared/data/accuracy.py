"""Top-1 accuracy of a network on labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..models.preprocessing import Preprocessing
from .labelled import LabelledSet, labelled_batches

FIRST = 8  # images that a dry run reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The share of so many images, 0 to 1, whose highest logit is that of their label."""

    top1: float
    images: int


def top1(network: nn.Module, images: LabelledSet, preprocessing: Preprocessing, *, batch_size: int = 256) -> float:
    """The top-1 accuracy alone, see :func:`measure_accuracy`."""
    return measure_accuracy(network, images, preprocessing, batch_size=batch_size).top1


@torch.no_grad()
def measure_accuracy(
    network: nn.Module, images: LabelledSet, preprocessing: Preprocessing, *, batch_size: int = 256
) -> Accuracy:
    """Measure a network on labelled images. Puts it in eval mode.

    Args:
        preprocessing: how the network's input is made from pixels.

    Raises:
        ConfigError: the set is empty or cannot be read.
    """
    network.eval()
    correct = total = 0
    for pixels_NCHW, labels_N in labelled_batches(images, preprocessing, batch_size):
        logits_NK = preprocessing.logits(network, pixels_NCHW)
        correct += int((logits_NK.argmax(1).cpu() == labels_N).sum())
        total += len(labels_N)
    return Accuracy(top1=correct / total, images=total)


def check_first(images: LabelledSet, preprocessing: Preprocessing) -> None:
    """Check that the first images of a set can be used.

    Raises:
        ConfigError: they cannot be read, or have wrong labels.
    """
    next(labelled_batches(images, preprocessing, FIRST))
