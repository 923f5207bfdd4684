"""Dead leaves: pictures of random shapes that hide one another, as things do (Lee, Mumford and Huang 2001).

Their edges, even areas and sizes are distributed as those of natural images are, and no data goes into them. Images
that a teacher dreamed are alike in much that real ones differ in: colours, contrast, how much of them is empty. Mixed
with leaves they differ in that too; the teacher tells what it sees in the result.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..shared.models.classifier import Preprocessing

LEAVES = 24  # an image, over a background
RADII = 1 / 16, 0.78  # half their width, of the side; as many between r and 2r as 1/r says
SQUARE = 0.4  # share of rectangles; the others are ellipses
STRETCH = 0.5  # deviation of the logarithm of length to width, halved
MIDDLE, GREY, COLOUR, SHADE = 0.45, 0.2, 0.1, 0.11  # mean and deviations, of the full range of a pixel


def shapes(
    count: int, leaves: int, radii: tuple[float, float], side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Random rectangles and ellipses that hide one another, over a background. From torch's default generator.

    Returns:
        For each pixel the number of the leaf that is seen there, ``leaves`` for the background, (N, side, side); and
        how far along each leaf's length the pixel is, in sides from its middle, (N, leaves + 1, side, side).
    """
    shape = (count, leaves + 1, 1, 1)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, device=device)

    smallest, largest = radii
    radius = 1 / uniform(1 / largest, 1 / smallest)
    radius[:, -1] = math.inf
    angle, stretch = uniform(0, math.pi), (STRETCH * torch.randn(shape, device=device)).exp()
    is_square = uniform(0, 1) < SQUARE
    pixel = (torch.arange(side, device=device) + 0.5) / side
    down, right = pixel[:, None] - uniform(0, 1), pixel - uniform(0, 1)  # (N, L, H, 1) and (N, L, 1, W)
    along, across = right * angle.cos() + down * angle.sin(), down * angle.cos() - right * angle.sin()
    x, y = (along * stretch).abs(), (across / stretch).abs()
    inside = torch.where(is_square, torch.maximum(x, y), torch.hypot(x, y)) < radius
    return inside.byte().argmax(1), along  # the first that covers the pixel


def dead_leaves(count: int, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Network input (N, C, H, W), within the range that pixels have.

    Every leaf has a colour that changes evenly along its length. Drawn from torch's default generator of the device.
    """

    def normal(deviation: float, *more: int) -> Tensor:
        return deviation * torch.randn(count, LEAVES + 1, *more, device=device)

    top_NHW, along_NLHW = shapes(count, LEAVES, RADII, preprocessing.image_size, device)
    colour_NLC = MIDDLE + normal(GREY, 1) + normal(COLOUR, preprocessing.channels)
    shade_N1HW = (2 * normal(SHADE, 1, 1) * along_NLHW).gather(1, top_NHW[:, None])
    image = torch.arange(count, device=device)[:, None, None]
    pixels_NCHW = colour_NLC[image, top_NHW].permute(0, 3, 1, 2) + shade_N1HW
    return preprocessing.normalize(255 * pixels_NCHW.clamp(0, 1))
