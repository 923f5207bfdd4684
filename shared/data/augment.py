"""Random augmentation of a whole batch at once, on its device. Every image has random values of its own.

Processes that share a batch all draw random values for the whole batch, and each takes those of its rows. So they draw
the same values as a single process would. Without a ``generator``, torch's default generators are used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.launch import Rows

# The aspect ratio of a resized crop lies between 3:4 and 4:3, as in torchvision's RandomResizedCrop.
LOG_ASPECT = math.log(4 / 3)

Draw = torch.Generator | None


def random_shift(
    x_NCHW: Tensor, rows: Rows, pad: int, *, fill_C11: Tensor | None = None, generator: Draw = None
) -> Tensor:
    """Shift each image by up to ``pad`` pixels in both directions of both axes.

    Args:
        fill_C11: value of each channel for pixels that enter at the edges; None means 0, the mean colour.
    """
    padded = F.pad(x_NCHW if fill_C11 is None else x_NCHW - fill_C11, (pad,) * 4)
    padded = padded if fill_C11 is None else padded + fill_C11
    top_N1, left_N1 = (_offsets(rows, 2 * pad, x_NCHW.device, generator) for _ in range(2))
    return _windows(padded, top_N1, left_N1, *x_NCHW.shape[2:])


def random_window(x_NCHW: Tensor, rows: Rows, size: int, *, generator: Draw = None) -> Tensor:
    """Cut a square of side ``size`` out of each image, at a random position."""
    free = x_NCHW.shape[2] - size, x_NCHW.shape[3] - size
    top_N1, left_N1 = (_offsets(rows, most, x_NCHW.device, generator) for most in free)
    return _windows(x_NCHW, top_N1, left_N1, size, size)


def random_resized_crop(x_NCHW: Tensor, rows: Rows, min_area: float, *, generator: Draw = None) -> Tensor:
    """Cut a random part out of each image and scale it to full size (Szegedy et al. 2015).

    Args:
        min_area: smallest share of the image's area, above 0 and up to 1.
    """
    draw = rows.take(torch.rand(4, rows.total, generator=generator, device=x_NCHW.device).T).T
    area = min_area + (1 - min_area) * draw[0]
    aspect = (LOG_ASPECT * (2 * draw[1] - 1)).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    left, top = (1 - width) * (2 * draw[2] - 1), (1 - height) * (2 * draw[3] - 1)  # centres, in [-1, 1]
    down, right = ((2 * torch.arange(size, device=x_NCHW.device) + 1) / size - 1 for size in x_NCHW.shape[2:])
    x_NHW, y_NHW = torch.broadcast_tensors(
        (width[:, None] * right + left[:, None])[:, None], (height[:, None] * down + top[:, None])[:, :, None]
    )
    grid = torch.stack([x_NHW, y_NHW], 3).to(x_NCHW.dtype)
    return F.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_flip(x_NCHW: Tensor, rows: Rows, *, generator: Draw = None) -> Tensor:
    """Mirror each image left to right with probability 0.5."""
    mirrored_N = rows.take(torch.rand(rows.total, generator=generator, device=x_NCHW.device)) < 0.5
    return torch.where(mirrored_N[:, None, None, None], x_NCHW.flip(3), x_NCHW)


def _offsets(rows: Rows, most: int, device: torch.device, generator: Draw) -> Tensor:
    """A random integer in 0..most for each image, (N, 1)."""
    return rows.take(torch.randint(0, most + 1, (rows.total, 1), generator=generator, device=device))


def _windows(x_NCHW: Tensor, top_N1: Tensor, left_N1: Tensor, height: int, width: int) -> Tensor:
    """Cut a part of size (height, width) out of each image, which begins at its own offsets."""
    device = x_NCHW.device
    y = top_N1 + torch.arange(height, device=device)
    x = left_N1 + torch.arange(width, device=device)
    batch = torch.arange(len(x_NCHW), device=device)[:, None, None]
    # Advanced indices on both sides of a slice put the channels last: (N, H, W, C).
    return x_NCHW[batch, :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).contiguous()
