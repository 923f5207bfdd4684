"""Dead leaves: values within the range of pixels, and uniform areas with edges."""

from __future__ import annotations

import pytest
import torch

from dreamdistill.distill.dead_leaves import dead_leaves
from dreamdistill.shared.models.preprocessing import Preprocessing

CPU = torch.device("cpu")
COLOUR = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), image_size=32)
GREY = Preprocessing(mean=(0.5,), std=(0.25,), image_size=8)


@pytest.mark.parametrize("preprocessing", [COLOUR, GREY])
def test_every_value_is_in_the_range_of_pixels(preprocessing: Preprocessing) -> None:
    torch.manual_seed(0)
    x = dead_leaves(50, preprocessing, CPU)
    low, high = preprocessing.valid_range(CPU)
    assert x.shape == (50, preprocessing.channels, preprocessing.image_size, preprocessing.image_size)
    assert bool(((x >= low - 1e-5) & (x <= high + 1e-5)).all())
    pixels = preprocessing.to_pixels(x).double() / 255
    assert pixels.mean().item() == pytest.approx(0.45, abs=0.05)
    assert 0.15 < pixels.mean((1, 2, 3)).std().item() + pixels.flatten(1).std(1).mean().item() < 0.5


def test_neighbouring_pixels_are_alike_except_at_edges() -> None:
    """Differences are sparse, as in natural images: most are near 0, some are large. For noise the kurtosis is 3."""
    torch.manual_seed(0)
    x = dead_leaves(50, COLOUR, CPU)
    step = (x[:, 0, :, 1:] - x[:, 0, :, :-1]).flatten().double()
    assert (step**4).mean() / (step**2).mean() ** 2 > 6


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(3)
    first = dead_leaves(4, COLOUR, CPU)
    torch.manual_seed(3)
    assert torch.equal(first, dead_leaves(4, COLOUR, CPU))
    assert not torch.equal(first, dead_leaves(4, COLOUR, CPU))
