"""scikit-learn's handwritten digits, as an evaluation set and as the shipped teachers' training images."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.errors import ConfigError
from .labelled_set import LabelledSet

NAMES = ("digits", "digits:train")
DIGITS_TEST = 450  # the last quarter of scikit-learn's 1,797 digits in their order, so by other writers than the rest


def open_digits(name: str) -> LabelledSet:
    """One of :data:`NAMES`.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    images, labels = load_digits(test=name == NAMES[0])
    return LabelledSet(
        name=name,
        count=len(labels),
        classes=10,
        read=lambda: zip((Image.fromarray(image.numpy()) for image in images), labels.tolist(), strict=True),
    )


def load_digits(*, test: bool) -> tuple[Tensor, Tensor]:
    """scikit-learn's handwritten digits: uint8 (N, 8, 8) and labels (N,). 1,347 are for training and 450 for tests.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise ConfigError("the digits need scikit-learn: pip install 'dreamdistill[demo]'") from error
    data: Any = sklearn_digits()
    part = slice(-DIGITS_TEST, None) if test else slice(None, -DIGITS_TEST)
    pixels = torch.from_numpy(data.images[part]) * (255 / 16)
    return pixels.round().to(torch.uint8), torch.from_numpy(data.target[part])
