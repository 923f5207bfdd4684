"""Which classes a network takes for which: counts for a confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import ConfigError

MOST_CLASSES = 4096  # of a matrix: 128 MiB


def count_confusions(true_N: Tensor, answered_N: Tensor, num_classes: int) -> Tensor:
    """How often each class was answered for each true one, int64 (K, K).

    Raises:
        ConfigError: there are more classes than :data:`MOST_CLASSES`.
    """
    if num_classes > MOST_CLASSES:
        raise ConfigError(f"a confusion matrix of {num_classes:,} classes is too large: {MOST_CLASSES:,} are possible")
    places_N = true_N.long() * num_classes + answered_N.long()
    return torch.bincount(places_N, minlength=num_classes**2).view(num_classes, num_classes)
