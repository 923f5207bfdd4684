"""The share of labelled images that a network gets right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..models.classifier import Preprocessing
from .labelled import LabelledSet, labelled_batches


@torch.no_grad()
def top1(network: nn.Module, images: LabelledSet, preprocessing: Preprocessing, *, batch_size: int = 256) -> float:
    """Share of images, 0 to 1, whose highest logit is at their label. Puts the network in eval mode.

    Raises:
        ConfigError: the set is empty, or a label lies outside the network's classes.
    """
    network.eval()
    device = next(network.parameters()).device
    right = seen = 0
    for pixels_NCHW, labels_N in labelled_batches(images, preprocessing, batch_size):
        logits_NK = network(preprocessing.normalize(pixels_NCHW.to(device)))
        check_labels(images, labels_N, logits_NK.shape[1])
        right += int((logits_NK.argmax(1).cpu() == labels_N).sum())
        seen += len(labels_N)
    return right / seen


def check_labels(images: LabelledSet, labels_N: Tensor, num_classes: int) -> None:
    """Refuse labels that the network has no class for."""
    if int(labels_N.max()) >= num_classes:
        raise ConfigError(f"{images.name} has label {int(labels_N.max())}, and the network {num_classes} classes")
