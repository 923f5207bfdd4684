"""Images mixed with one another; only a teacher can label the results well.

Random numbers come from torch's default generators, which the trainer seeds at the start of each epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from .dead_leaves import random_shapes

PIECES, RADII = 7, (1 / 8, 0.9)  # shapes of one cut, over a background; radii in units of the side


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How the images of a batch were mixed.

    Attributes:
        partner_N: index in the batch of each image's partner.
        share_N: the share of each result that shows the image itself, 0 to 1; the partner has the rest.
        extra: how many of the first images had a partner from outside the batch in place of ``partner_N``'s.
    """

    partner_N: Tensor
    share_N: Tensor
    extra: int

    def labels(self, labels_NK: Tensor) -> Tensor:
        """Labels of the batch's images (floating-point numbers), mixed in the same shares as the images.

        Raises:
            ValueError: a partner came from outside the batch, so it has no label here.
        """
        if self.extra:
            raise ValueError("images were mixed with dead leaves, which have no stored label: ask a teacher for labels")
        return torch.lerp(labels_NK[self.partner_N], labels_NK, self.share_N[:, None].to(labels_NK))


def mix_images(
    x_NCHW: Tensor, alpha: float, *, shape_cutmix: float, extra_NCHW: Tensor | None = None
) -> tuple[Tensor, Mixing]:
    """Mix each image with another of the batch: blended (mixup, Zhang et al. 2018), or cut along random shapes.

    Args:
        alpha: the share of the image itself is drawn from Beta(alpha, alpha), once for the batch.
        shape_cutmix: share of the images, 0 to 1, that are cut. Each of :data:`PIECES` shapes, and the background,
            shows the image itself with the drawn probability (CutMix, Yun et al. 2019, with the outlines of dead
            leaves).
        extra_NCHW: mixing partners from outside the batch for its first images; no more than the batch has.

    Returns:
        The mixed images (N, C, H, W), and how they were mixed.
    """
    count = len(x_NCHW)
    share = float(Beta(alpha, alpha, validate_args=False).sample())
    partner_N = torch.randperm(count, device=x_NCHW.device)
    partners_NCHW = x_NCHW[partner_N]
    extra = 0 if extra_NCHW is None else len(extra_NCHW)
    if extra_NCHW is not None:
        partners_NCHW[:extra] = extra_NCHW
    mixed_NCHW, share_N = share * x_NCHW + (1 - share) * partners_NCHW, x_NCHW.new_full((count,), share)
    cut = torch.randperm(count, device=x_NCHW.device)[: round(shape_cutmix * count)]
    if len(cut):
        top_MHW, _ = random_shapes(len(cut), PIECES, RADII, x_NCHW.shape[3], x_NCHW.device)
        is_itself_ML = torch.rand(len(cut), PIECES + 1, device=x_NCHW.device) < share
        is_itself_MHW = is_itself_ML.gather(1, top_MHW.flatten(1)).view_as(top_MHW)
        mixed_NCHW[cut] = torch.where(is_itself_MHW[:, None], x_NCHW[cut], partners_NCHW[cut])
        share_N[cut] = is_itself_MHW.to(share_N).mean((1, 2))
    return mixed_NCHW, Mixing(partner_N=partner_N, share_N=share_N, extra=extra)
