"""Images mixed with one another: what is blended, what is cut, and how much is said to be of the first."""

from __future__ import annotations

import pytest
import torch

from dreamdistill.distill.distributed import ALONE
from dreamdistill.distill.mixing import mixed
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.views import Lessons
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.batches import Batch

ALPHA = 4.0


def images(count: int = 32) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(count, 3, 16, 16)


def test_blends_are_convex_mixtures() -> None:
    x = images()
    out, partner, share = mixed(x, ALPHA, shape_cutmix=0.0)
    assert sorted(partner.tolist()) == list(range(32))
    assert 0 <= share[0] <= 1
    assert bool((share == share[0]).all())
    assert torch.allclose(out, share[0] * x + (1 - share[0]) * x[partner])


def test_cuts_show_one_or_the_other_in_each_pixel_by_the_share_that_is_told() -> None:
    x = images()
    out, partner, share = mixed(x, ALPHA, shape_cutmix=1.0)
    first, second = (out == x).all(1), (out == x[partner]).all(1)
    assert bool((first | second).all())
    moved = partner != torch.arange(32)
    assert torch.allclose(first.float().mean((1, 2))[moved], share[moved])
    assert len(share.unique()) > 20
    # Whole pieces: neighbours are mostly of one image.
    assert (first[:, :, 1:] == first[:, :, :-1]).float().mean() > 0.85


def test_as_many_are_cut_as_asked_and_by_the_drawn_share_on_average() -> None:
    drawn, told = [], []
    for seed in range(40):
        torch.manual_seed(seed)
        x = torch.randn(32, 1, 16, 16)
        _, _, share = mixed(x, ALPHA, shape_cutmix=0.25)
        blended = share.mode().values
        assert (share == blended).sum() == 24
        drawn.append(float(blended))
        told.append(float(share[share != blended].mean()))
    assert sum(told) / 40 == pytest.approx(sum(drawn) / 40, abs=0.03)


@pytest.mark.parametrize("shape_cutmix", [0.0, 1.0])
def test_strangers_take_the_first_partners_places(shape_cutmix: float) -> None:
    x, strangers = images(8), 7 + torch.zeros(3, 3, 16, 16)
    out, partner, share = mixed(x, ALPHA, shape_cutmix=shape_cutmix, strangers_NCHW=strangers)
    if shape_cutmix:
        assert bool(((out[:3] == 7) | (out[:3] == x[:3])).all())
    else:
        assert torch.allclose(out[:3], share[0] * x[:3] + (1 - share[0]) * strangers)
        assert torch.allclose(out[3:], share[0] * x[3:] + (1 - share[0]) * x[partner[3:]])


@pytest.mark.parametrize("shape_cutmix", [0.0, 0.5, 1.0])
def test_stored_labels_are_mixed_as_the_images_are(shape_cutmix: float) -> None:
    """Images of one value each, labels that tell the value: what is seen and what is said stay alike."""
    teacher = load_model("digits_cnn")
    training = Training(crop="none", flip=False, shape_cutmix=shape_cutmix, temperature=1.0)
    lessons = Lessons(training=training, teacher=None, places=[], preprocessing=teacher.preprocessing, group=ALONE)
    black_or_white = torch.arange(10) % 2
    pixels = (255 * black_or_white).to(torch.uint8)[:, None, None, None].expand(10, 1, 8, 8).contiguous()
    logits = 50.0 * torch.nn.functional.one_hot(black_or_white, 10)
    torch.manual_seed(1)
    lesson = lessons.of(Batch(pixels, logits, torch.arange(10), Rows(10)))
    whiteness = teacher.preprocessing.to_pixels(lesson.x_NCHW).double().mean((1, 2, 3)) / 255
    assert torch.allclose(lesson.labels_NK[:, 1].double(), whiteness, atol=5e-3)
