"""scikit-learn's handwritten digits, as an evaluation set and as the shipped teachers' training images."""

from __future__ import annotations

import re
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..core.errors import ConfigError
from .labelled_set import LabelledSet

# The test part or the training part, of all classes or of those from one to another: digits:train:5-9.
_NAME = re.compile(r"digits(?P<train>:train)?(:(?P<first>[0-9])-(?P<last>[0-9]))?")
DIGITS_TEST = 450  # the last quarter of scikit-learn's 1,797 digits in their order, so by other writers than the rest


def is_digits(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def open_digits(name: str) -> LabelledSet:
    """The part of the digits that a name means. Labels count the classes of the part, from 0 on.

    Args:
        name: :func:`is_digits`.

    Raises:
        ConfigError: scikit-learn is not installed, or the part has no class.
    """
    found = _NAME.fullmatch(name)
    assert found is not None
    first, last = int(found["first"] or 0), int(found["last"] or 9)
    if first > last:
        raise ConfigError(f"{name} has no classes: write the lower one first, digits:{last}-{first}")
    pixels_NHW, labels_N = load_digits(test=not found["train"])
    chosen_N = (labels_N >= first) & (labels_N <= last)
    images, labels = pixels_NHW[chosen_N], (labels_N[chosen_N] - first).tolist()
    return LabelledSet(
        name=name,
        count=len(labels),
        classes=last - first + 1,
        class_names=tuple(map(str, range(first, last + 1))),
        read=lambda: zip((Image.fromarray(image.numpy()) for image in images), labels, strict=True),
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
