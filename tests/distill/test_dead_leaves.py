"""Dead leaves: values that pixels have, even areas with edges, and views that are mixed with them."""

from __future__ import annotations

import pytest
import torch

from dreamdistill.distill.dead_leaves import dead_leaves
from dreamdistill.distill.distributed import ALONE
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.views import Lessons
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.classifier import Preprocessing, load_model
from dreamdistill.shared.shards.batches import Batch

CPU = torch.device("cpu")
COLOUR = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), image_size=32)
GREY = Preprocessing(mean=(0.5,), std=(0.25,), image_size=8)


@pytest.mark.parametrize("preprocessing", [COLOUR, GREY])
def test_every_value_is_one_that_a_pixel_has(preprocessing: Preprocessing) -> None:
    torch.manual_seed(0)
    x = dead_leaves(50, preprocessing, CPU)
    low, high = preprocessing.valid_range(CPU)
    assert x.shape == (50, preprocessing.channels, preprocessing.image_size, preprocessing.image_size)
    assert bool(((x >= low - 1e-5) & (x <= high + 1e-5)).all())
    pixels = preprocessing.to_pixels(x).double() / 255
    assert pixels.mean().item() == pytest.approx(0.45, abs=0.05)
    assert 0.15 < pixels.mean((1, 2, 3)).std().item() + pixels.flatten(1).std(1).mean().item() < 0.5


def test_neighbours_are_alike_but_at_edges() -> None:
    """Natural images' differences are sparse: mostly none, some large. Of noise the kurtosis is 3."""
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


@pytest.mark.parametrize(("settings", "mixed_in"), [({}, 3), ({"dead_leaves": 0.0}, 0), ({"mixup": 0.0}, 0)])
def test_views_are_mixed_with_leaves(settings: dict, mixed_in: int) -> None:
    """Ten images of one grey: what is not even has a leaf in it."""
    teacher = load_model("digits_cnn")
    training = Training(crop="none", flip=False, shape_cutmix=0.0, **settings)
    lessons = Lessons(
        training=training, teacher=teacher.network, places=[], preprocessing=teacher.preprocessing, group=ALONE
    )
    grey = Batch(torch.full((10, 1, 8, 8), 128, dtype=torch.uint8), torch.zeros(10, 10), torch.arange(10), Rows(10))
    torch.manual_seed(0)
    lesson = lessons.of(grey)
    assert (lesson.x_NCHW.flatten(1).std(1) > 1e-3).sum() == mixed_in
    assert torch.allclose(lesson.labels_NK, torch.softmax(teacher.network(lesson.x_NCHW) / training.temperature, 1))


def test_nobody_knows_what_leaves_show_where_labels_are_stored() -> None:
    teacher = load_model("digits_cnn")
    lessons = Lessons(
        training=Training(crop="none"), teacher=None, places=[], preprocessing=teacher.preprocessing, group=ALONE
    )
    grey = torch.full((10, 1, 8, 8), 128, dtype=torch.uint8)
    lesson = lessons.of(Batch(grey, torch.zeros(10, 10), torch.arange(10), Rows(10)))
    assert lesson.x_NCHW.flatten(1).std(1).max() < 1e-3
