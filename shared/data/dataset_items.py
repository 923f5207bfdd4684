"""The items of a data set object, torchvision's or a user's: pairs of an image and a label in any usual form."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..core.errors import ConfigError, one_line
from .array_images import to_image
from .class_order import Classes, match_names, other_places


def names_of(dataset: Any) -> list[str]:
    """The names of a data set's classes in its order, as torchvision's sets tell them; empty if it has none.

    ImageNet's have several names each, of which the first counts.
    """
    classes = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    numbers = getattr(dataset, "class_to_idx", None)
    if not classes and isinstance(numbers, dict) and sorted(numbers.values()) == list(range(len(numbers))):
        classes = sorted(numbers, key=numbers.__getitem__)
    if not isinstance(classes, (list, tuple)):
        return []
    firsts = [name[0] if isinstance(name, tuple) and name else name for name in classes]
    names = [name for name in firsts if isinstance(name, str)]
    return names if len(names) == len(firsts) else []


def order_of(names: list[str], classes: Classes) -> tuple[list[int] | None, str | None]:
    """The network's class for each of the set's, None where labels are the network's class numbers; and a remark.

    The remark says if only some of the names are the network's, and not at their places.
    """
    if order := match_names(names, classes.names):
        return order, None
    return None, other_places(names, classes.names)


def read_item(item: object, where: str, classes: Classes, order: list[int] | None) -> tuple[Image.Image, int]:
    """The image in RGB and the network's class.

    Args:
        where: what the item is, for messages: ``torchvision:SVHN:data: item 7``.
        order: as :func:`order_of` gives it.

    Raises:
        ConfigError: it is no such pair, or has a label that is none of the classes.
    """
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ConfigError(f"{where} is no pair of an image and its label, but {_kind(item)}; give (image, label)")
    image, label = item
    try:
        found = to_image(image)
    except ValueError as error:
        raise ConfigError(f"the image of {where} cannot be used: {one_line(error)}") from error
    return found, _class_of(label, where, classes, order)


def _class_of(label: Any, where: str, classes: Classes, order: list[int] | None) -> int:
    if isinstance(label, (np.ndarray, torch.Tensor)) and math.prod(label.shape) == 1:  # MedMNIST has arrays (1,)
        label = label.item()
    if isinstance(label, str):
        return classes.find(label, where)
    try:
        number = operator.index(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{where} has the label {_kind(label)}; give a class number") from error
    if order is not None and 0 <= number < len(order):
        number = order[number]
    return classes.check(number, where)


def _kind(value: object) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")
