"""Top-1 accuracy of a network on labelled images."""

from __future__ import annotations

import torch
from torch import nn

from ..models.preprocessing import Preprocessing
from .labelled import LabelledSet, labelled_batches


@torch.no_grad()
def top1(network: nn.Module, images: LabelledSet, preprocessing: Preprocessing, *, batch_size: int = 256) -> float:
    """Top-1 accuracy, 0 to 1: the share of images whose highest logit is that of their label.

    Puts the network in eval mode.

    Args:
        preprocessing: how the network's input is made from pixels.

    Raises:
        ConfigError: the set is empty or cannot be read.
    """
    network.eval()
    device = next(network.parameters()).device
    correct = total = 0
    for pixels_NCHW, labels_N in labelled_batches(images, preprocessing, batch_size):
        logits_NK = network(preprocessing.normalize(pixels_NCHW.to(device)))
        correct += int((logits_NK.argmax(1).cpu() == labels_N).sum())
        total += len(labels_N)
    return correct / total
