"""Images mixed with one another, whose soft labels only the teacher can tell.

Random numbers come from torch's default generators, which the trainer seeds anew each epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta

from .dead_leaves import shapes

PIECES, RADII = 7, (1 / 8, 0.9)  # of a shape_cutmix, over a background


def mixed(
    x_NCHW: Tensor, alpha: float, *, shape_cutmix: float, strangers_NCHW: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each image with another of the batch: blended (mixup, Zhang et al. 2018), or cut along random shapes.

    Args:
        alpha: the share of the first is drawn from Beta(alpha, alpha), one for the batch.
        shape_cutmix: share of the images, 0 to 1, that are cut: each of :data:`PIECES` shapes, and what lies
            under them, shows the first with that probability (CutMix, Yun et al. 2019, by the outlines of dead leaves).
        strangers_NCHW: partners of the first images, in place of others of the batch; as many or fewer.

    Returns:
        The mixed images, the place of each one's partner, and how much of each is the first, (N,).
    """
    count = len(x_NCHW)
    share = float(Beta(alpha, alpha).sample())
    partner_N = torch.randperm(count, device=x_NCHW.device)
    partners_NCHW = x_NCHW[partner_N]
    if strangers_NCHW is not None:
        partners_NCHW[: len(strangers_NCHW)] = strangers_NCHW
    mixed_NCHW, share_N = share * x_NCHW + (1 - share) * partners_NCHW, x_NCHW.new_full((count,), share)
    cut = torch.randperm(count, device=x_NCHW.device)[: round(shape_cutmix * count)]
    if len(cut):
        top_MHW, _ = shapes(len(cut), PIECES, RADII, x_NCHW.shape[3], x_NCHW.device)
        is_first_ML = torch.rand(len(cut), PIECES + 1, device=x_NCHW.device) < share
        is_first_MHW = is_first_ML.gather(1, top_MHW.flatten(1)).view_as(top_MHW)
        mixed_NCHW[cut] = torch.where(is_first_MHW[:, None], x_NCHW[cut], partners_NCHW[cut])
        share_N[cut] = is_first_MHW.to(share_N).mean((1, 2))
    return mixed_NCHW, partner_N, share_N
