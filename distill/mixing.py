"""Images mixed with one another, whose soft labels only the teacher can tell.

Random numbers come from torch's default generators, which the trainer seeds anew each epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta


def mixup(x_NCHW: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Mix each image with another of the batch (Zhang et al. 2018).

    Returns:
        The mixed images, the place of each one's partner, and the share of the first, drawn from Beta(alpha, alpha).
    """
    share = float(Beta(alpha, alpha).sample())
    partner_N = torch.randperm(len(x_NCHW), device=x_NCHW.device)
    return share * x_NCHW + (1 - share) * x_NCHW[partner_N], partner_N, share
