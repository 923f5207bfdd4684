"""Top-1 accuracy of a network on labelled images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..models.preprocessing import Preprocessing
from .labelled import LabelledSet, labelled_batches, open_labelled

FIRST = 8  # images that a dry run reads


@torch.no_grad()
def top1(network: nn.Module, images: LabelledSet, preprocessing: Preprocessing, *, batch_size: int = 256) -> float:
    """Top-1 accuracy, 0 to 1: the share of images whose highest logit is that of their label.

    Puts the network in eval mode.

    Args:
        preprocessing: how the network's input is made from pixels.

    Raises:
        ConfigError: the set is empty, or the network has no class for a label.
    """
    network.eval()
    device = next(network.parameters()).device
    correct = total = 0
    for pixels_NCHW, labels_N in labelled_batches(images, preprocessing, batch_size):
        logits_NK = network(preprocessing.normalize(pixels_NCHW.to(device)))
        check_labels(images, labels_N, logits_NK.shape[1])
        correct += int((logits_NK.argmax(1).cpu() == labels_N).sum())
        total += len(labels_N)
    return correct / total


def check_first(spec: str, preprocessing: Preprocessing, num_classes: int) -> None:
    """Check that the set of ``--eval`` opens, and that :func:`top1` can use its first images.

    Raises:
        ConfigError: it does not, or they cannot be read or have wrong labels.
    """
    images = open_labelled(spec, num_classes)
    _, labels_N = next(labelled_batches(images, preprocessing, FIRST))
    check_labels(images, labels_N, num_classes)


def check_labels(images: LabelledSet, labels_N: Tensor, num_classes: int) -> None:
    """Check that the network has a class for every label.

    Raises:
        ConfigError: it has none for the highest label, or for a negative one.
    """
    wrong = next((int(label) for label in (labels_N.max(), labels_N.min()) if not 0 <= label < num_classes), None)
    if wrong is not None:
        raise ConfigError(
            f"{images.name} has label {wrong}, but the network has {num_classes} classes:"
            f" labels must lie in 0..{num_classes - 1}"
        )
