"""Images mixed with one another: what is blended, what is cut, and the shares that are reported."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dreamdistill.distill.mixing import mix_images

ALPHA = 4.0


def images(count: int = 32) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, 3, 16, 16)


def test_blends_are_convex_mixtures() -> None:
    x = images()
    out, mixing = mix_images(x, ALPHA, shape_cutmix=0.0)
    share = mixing.share_N
    assert sorted(mixing.partner_N.tolist()) == list(range(32))
    assert 0 <= share[0] <= 1
    assert bool((share == share[0]).all())
    assert torch.allclose(out, share[0] * x + (1 - share[0]) * x[mixing.partner_N])


def test_each_pixel_of_a_cut_shows_one_of_the_two_images_by_the_reported_share() -> None:
    x = images()
    out, mixing = mix_images(x, ALPHA, shape_cutmix=1.0)
    is_itself, is_partner = (out == x).all(1), (out == x[mixing.partner_N]).all(1)
    assert bool((is_itself | is_partner).all())
    differs = mixing.partner_N != torch.arange(32)
    assert torch.allclose(is_itself.float().mean((1, 2))[differs], mixing.share_N[differs])
    assert len(mixing.share_N.unique()) > 20
    # Whole pieces: neighbouring pixels mostly show the same image.
    assert (is_itself[:, :, 1:] == is_itself[:, :, :-1]).float().mean() > 0.85


def test_as_many_images_are_cut_as_asked_for_and_by_the_drawn_share_on_average() -> None:
    drawn, reported = [], []
    for seed in range(40):
        torch.manual_seed(seed)
        _, mixing = mix_images(torch.randn(32, 1, 16, 16), ALPHA, shape_cutmix=0.25)
        share = mixing.share_N
        blended = share.mode().values
        assert (share == blended).sum() == 24
        drawn.append(float(blended))
        reported.append(float(share[share != blended].mean()))
    assert sum(reported) / 40 == pytest.approx(sum(drawn) / 40, abs=0.03)


@pytest.mark.parametrize("shape_cutmix", [0.0, 1.0])
def test_extra_partners_replace_those_of_the_first_images(shape_cutmix: float) -> None:
    x, extra = images(8), 7 + torch.zeros(3, 3, 16, 16)
    out, mixing = mix_images(x, ALPHA, shape_cutmix=shape_cutmix, extra_NCHW=extra)
    share, partner = mixing.share_N, mixing.partner_N
    if shape_cutmix:
        assert bool(((out[:3] == 7) | (out[:3] == x[:3])).all())
    else:
        assert torch.allclose(out[:3], share[0] * x[:3] + (1 - share[0]) * extra)
        assert torch.allclose(out[3:], share[0] * x[3:] + (1 - share[0]) * x[partner[3:]])
    with pytest.raises(ValueError, match="no stored label"):
        mixing.labels(torch.zeros(8, 10))
