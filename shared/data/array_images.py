"""Images that are in memory, as arrays, tensors or Pillow's, as the images of an evaluation set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from .images import check_size, eight_bits

GREY, COLOURS, WITH_ALPHA = 1, 3, 4  # numbers of channels


def to_image(value: object, *, channels_first: bool | None = None) -> Image.Image:
    """An image of Pillow, a NumPy array or a tensor, in RGB.

    Arrays are (H, W) or (H, W, C), tensors (H, W) or (C, H, W), and the other order where only that can be meant.
    Values are uint8, or floats from 0 to 1.

    Args:
        channels_first: the order of channels where it is known.

    Raises:
        ValueError: it is none, or has other values.
    """
    if isinstance(value, Image.Image):
        check_size(*value.size)
        return eight_bits(value).convert("RGB")
    first = isinstance(value, torch.Tensor) if channels_first is None else channels_first
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray):
        raise ValueError(f"it is no image, array or tensor, but {type(value).__name__}")
    return Image.fromarray(_bytes(_channels_last(array, first))).convert("RGB")


def channels_of(shape: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether the first axis of an image (., ., .) can be that of channels, and whether the last can."""
    return shape[0] in (GREY, COLOURS), shape[2] in (GREY, COLOURS, WITH_ALPHA)


def _channels_last(array: np.ndarray[Any, Any], first: bool) -> np.ndarray[Any, Any]:
    """An image as (H, W) or (H, W, C)."""
    if array.ndim == 4:
        raise ValueError(f"it has the shape {array.shape}, of a batch: give one image at a time")
    if array.ndim == 3:
        can_be_first, can_be_last = channels_of(array.shape)
        if not (can_be_first or can_be_last):
            raise ValueError(f"it has the shape {array.shape}, and no axis of 1 or 3 channels")
        if can_be_first and (first or not can_be_last):
            array = array.transpose(1, 2, 0)
        array = array[:, :, 0] if array.shape[2] == GREY else array
    if array.ndim != 2 and array.ndim != 3:
        raise ValueError(f"it has the shape {array.shape}, and an image has (H, W), (H, W, C) or (C, H, W)")
    check_size(array.shape[1], array.shape[0])
    return array


def _bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values as uint8. Other whole numbers than uint8 do not say which is white."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise ValueError(f"its values are {array.dtype}; give uint8, or floats from 0 to 1")
    if not (array.min() >= 0 and array.max() <= 1):  # also for NaN
        values = f"{array.min():.4g} to {array.max():.4g}"
        raise ValueError(f"its values go from {values}; give uint8, or floats from 0 to 1, not normalised")
    return np.ascontiguousarray((array.astype(np.float32) * 255).round().astype(np.uint8))
