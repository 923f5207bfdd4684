"""Augmentation of a whole batch at once, on the training device, each image with its own draw.

Random numbers come from torch's default generators, which the trainer seeds anew each epoch. Processes that share a
batch all draw for the whole of it, and each takes its rows: so they draw what one process would.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional as F

from ..shared.loaders import Rows

PAD_SHARE = 8  # the shift is up to a side / 8: 4 pixels of 32, as CIFAR recipes have it
ASPECT = (3 / 4, 4 / 3)  # of a resized crop, as torchvision's RandomResizedCrop has it


def random_shift(x_NCHW: Tensor, rows: Rows) -> Tensor:
    """Pad by an eighth of the side with zeros (the mean colour), and cut each image out at a random place."""
    n, _, height, width = x_NCHW.shape
    pad = max(1, height // PAD_SHARE)
    padded = F.pad(x_NCHW, (pad,) * 4)
    down_N1, right_N1 = (
        rows.take(torch.randint(0, 2 * pad + 1, (rows.total, 1), device=x_NCHW.device)) for _ in range(2)
    )
    y = down_N1 + torch.arange(height, device=x_NCHW.device)
    x = right_N1 + torch.arange(width, device=x_NCHW.device)
    batch = torch.arange(n, device=x_NCHW.device)[:, None, None]
    # Advanced indices around a slice put the channels last: (N, H, W, C).
    return padded[batch, :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).contiguous()


def random_resized_crop(x_NCHW: Tensor, rows: Rows, min_area: float) -> Tensor:
    """Cut out a random area of at least ``min_area`` of each image, stretched to full size (Szegedy et al. 2015)."""
    draw = rows.take(torch.rand(4, rows.total, device=x_NCHW.device).T).T
    area = min_area + (1 - min_area) * draw[0]
    low, high = (torch.tensor(a, device=x_NCHW.device).log() for a in ASPECT)
    aspect = (low + (high - low) * draw[1]).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    left, top = (1 - width) * (2 * draw[2] - 1), (1 - height) * (2 * draw[3] - 1)  # centres, in [-1, 1]
    zero = torch.zeros_like(width)
    theta = torch.stack([torch.stack([width, zero, left], 1), torch.stack([zero, height, top], 1)], 1)
    grid = F.affine_grid(theta, list(x_NCHW.shape), align_corners=False)
    return F.grid_sample(x_NCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_flip(x_NCHW: Tensor, rows: Rows) -> Tensor:
    """Mirror half of the images, left to right."""
    mirrored_N = rows.take(torch.rand(rows.total, device=x_NCHW.device)) < 0.5
    return torch.where(mirrored_N[:, None, None, None], x_NCHW.flip(3), x_NCHW)


def mixup(x_NCHW: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix each image with another of the batch (Zhang et al. 2018).

    Returns:
        The mixed images, the place of each one's partner, and the share of the first, drawn from Beta(alpha, alpha).
    """
    share = float(Beta(alpha, alpha).sample())
    partner_N = torch.randperm(len(x_NCHW), device=x_NCHW.device)
    return share * x_NCHW + (1 - share) * x_NCHW[partner_N], partner_N, share
