"""Images mixed with one another, whose soft labels only the teacher can tell.

Random numbers come from torch's default generators, which the trainer seeds anew each epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta


def mixup(x_NCHW: Tensor, alpha: float, strangers_NCHW: Tensor | None = None) -> tuple[Tensor, Tensor, float]:
    """Mix each image with another of the batch (Zhang et al. 2018).

    Args:
        strangers_NCHW: partners of the first images, in place of others of the batch; as many or fewer.

    Returns:
        The mixed images, the place of each one's partner, and the share of the first, drawn from Beta(alpha, alpha).
    """
    share = float(Beta(alpha, alpha).sample())
    partner_N = torch.randperm(len(x_NCHW), device=x_NCHW.device)
    partners_NCHW = x_NCHW[partner_N]
    if strangers_NCHW is not None:
        partners_NCHW[: len(strangers_NCHW)] = strangers_NCHW
    return share * x_NCHW + (1 - share) * partners_NCHW, partner_N, share
