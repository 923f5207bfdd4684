"""Dead leaves: images of random shapes that occlude one another, as objects do (Lee, Mumford and Huang 2001).

Their edges, sizes and uniform areas are distributed as in natural images, and they need no data. Synthetic images
resemble one another in much that real images differ in: colours, contrast, how much of them is empty. Mixed with dead
leaves they differ in that too, and the teacher labels the results.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..shared.models.preprocessing import Preprocessing

SHAPES = 24  # per image, over a background
RADII = 1 / 16, 0.78  # half a shape's width, in units of the side; 1 / radius is uniformly distributed
RECTANGLES = 0.4  # share of the shapes; the others are ellipses
STRETCH = 0.5  # standard deviation of log(length / width) / 2
MEAN = 0.45  # of the pixels, in units of their full range, as the three below
GREY, COLOUR, SHADE = 0.2, 0.1, 0.11  # standard deviations: of a shape's grey level, of its channels, of its gradient


def random_shapes(
    count: int, shapes: int, radii: tuple[float, float], side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Random rectangles and ellipses that occlude one another, over a background.

    They are drawn from torch's default generator of the device.

    Args:
        count: images, N.
        shapes: per image, S.
        radii: smallest and largest, in units of the side.
        side: of the image, in pixels.

    Returns:
        The number of the shape that each pixel shows, S for the background, (N, side, side); and the position of each
        pixel along the length of each shape, from its centre, in units of the side, (N, S + 1, side, side).
    """
    size = (count, shapes + 1, 1, 1)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(size, device=device)

    smallest, largest = radii
    radius = 1 / uniform(1 / largest, 1 / smallest)
    radius[:, -1] = math.inf
    angle, stretch = uniform(0, math.pi), (STRETCH * torch.randn(size, device=device)).exp()
    is_rectangle = uniform(0, 1) < RECTANGLES
    pixel = (torch.arange(side, device=device) + 0.5) / side
    down, right = pixel[:, None] - uniform(0, 1), pixel - uniform(0, 1)  # (N, S + 1, H, 1) and (N, S + 1, 1, W)
    cos, sin = angle.cos(), angle.sin()
    along = right * cos + down * sin
    x, y = (along * stretch).square_(), (down * (cos / stretch) - right * (sin / stretch)).square_()
    inside = torch.where(is_rectangle, torch.maximum(x, y), x + y) < radius.square()
    number = torch.arange(shapes + 1, dtype=torch.uint8, device=device)[:, None, None]
    return torch.where(inside, number, shapes).amin(1).long(), along  # the first shape that covers the pixel


def dead_leaves(count: int, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Images of dead leaves as network input (N, C, H, W), within the range of pixels.

    The colour of a shape changes linearly along its length. All is drawn from torch's default generator of the device.
    """

    def normal(deviation: float, *more: int) -> Tensor:
        return deviation * torch.randn(count, SHAPES + 1, *more, device=device)

    top_NHW, along_NSHW = random_shapes(count, SHAPES, RADII, preprocessing.image_size, device)
    colour_NSC = MEAN + normal(GREY, 1) + normal(COLOUR, preprocessing.channels)
    slope_NS11 = 2 * normal(SHADE, 1, 1)
    image = torch.arange(count, device=device)[:, None, None]
    shade_NHW = slope_NS11[image, top_NHW, 0, 0] * along_NSHW.gather(1, top_NHW[:, None])[:, 0]
    pixels_NCHW = colour_NSC[image, top_NHW].permute(0, 3, 1, 2) + shade_NHW[:, None]
    return preprocessing.normalize(255 * pixels_NCHW.clamp(0, 1))
