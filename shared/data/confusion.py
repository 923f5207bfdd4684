"""Which classes a network takes for which: the confusion matrix on labelled images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..models.preprocessing import Preprocessing
from .labelled import LabelledSet, labelled_batches

MOST_CLASSES = 4096  # of a matrix: 128 MiB


@torch.no_grad()
def confusion_matrix(
    network: nn.Module, images: LabelledSet, preprocessing: Preprocessing, *, batch_size: int = 256
) -> Tensor:
    """Count a network's answers on labelled images, int64 (K, K): rows are true classes, columns the answered ones.

    It puts the network in eval mode.

    Args:
        preprocessing: how the network's input is made from pixels.

    Raises:
        ConfigError: the set is empty or cannot be read, or there are more classes than :data:`MOST_CLASSES`.
    """
    network.eval()
    device = next(network.parameters()).device
    total_KK: Tensor | None = None
    for pixels_NCHW, labels_N in labelled_batches(images, preprocessing, batch_size):
        logits_NK = network(preprocessing.normalize(pixels_NCHW.to(device)))
        counts_KK = count_confusions(labels_N, logits_NK.argmax(1).cpu(), logits_NK.shape[1])
        total_KK = counts_KK if total_KK is None else total_KK + counts_KK
    assert total_KK is not None, "a set without images is refused"
    return total_KK


def count_confusions(true_N: Tensor, answered_N: Tensor, num_classes: int) -> Tensor:
    """How often each class was answered for each true one, int64 (K, K).

    Raises:
        ConfigError: there are more classes than :data:`MOST_CLASSES`.
    """
    if num_classes > MOST_CLASSES:
        raise ConfigError(f"a confusion matrix of {num_classes:,} classes is too large: {MOST_CLASSES:,} are possible")
    places_N = true_N.long() * num_classes + answered_N.long()
    return torch.bincount(places_N, minlength=num_classes**2).view(num_classes, num_classes)
