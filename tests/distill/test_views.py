"""Views of a batch: what is mixed in, which labels fit the result, and the rows that a process gets."""

from __future__ import annotations

import pytest
import torch

from dreamdistill.distill.recipe import Training
from dreamdistill.distill.views import Views
from dreamdistill.shared.core.launch import Place, Rows
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.shards.batches import Batch

DIGITS = Preprocessing(mean=(0.305,), std=(0.376,), image_size=8)


def grey_batch() -> Batch:
    """Ten images of the same grey."""
    pixels = torch.full((10, 1, 8, 8), 128, dtype=torch.uint8)
    return Batch(pixels, torch.zeros(10, 10), torch.arange(10), Rows(10))


@pytest.mark.parametrize(("settings", "expected"), [({}, 3), ({"dead_leaves": 0.0}, 0), ({"mixup": 0.0}, 0)])
def test_views_that_a_teacher_labels_are_mixed_with_dead_leaves(settings: dict, expected: int) -> None:
    """An image that is not uniform shows a dead leaf."""
    training = Training(crop="none", flip=False, shape_cutmix=0.0, **settings)
    torch.manual_seed(0)
    view = Views(training=training, preprocessing=DIGITS, relabelled=True)(grey_batch())
    assert (view.x_NCHW.flatten(1).std(1) > 1e-3).sum() == expected
    if expected:
        with pytest.raises(ValueError, match="dead leaves"):
            view.labels(torch.zeros(10, 10))


def test_views_with_stored_labels_have_no_dead_leaves() -> None:
    view = Views(training=Training(crop="none"), preprocessing=DIGITS, relabelled=False)(grey_batch())
    assert view.x_NCHW.flatten(1).std(1).max() < 1e-3


@pytest.mark.parametrize("shape_cutmix", [0.0, 0.5, 1.0])
def test_labels_are_mixed_as_the_images_are(shape_cutmix: float) -> None:
    """The images are black or white, and the label of white is the brightness: the two stay equal."""
    training = Training(crop="none", flip=False, shape_cutmix=shape_cutmix)
    is_white = torch.arange(10) % 2
    pixels = (255 * is_white).to(torch.uint8)[:, None, None, None].expand(10, 1, 8, 8).contiguous()
    batch = Batch(pixels, torch.zeros(10, 10), torch.arange(10), Rows(10))
    one_hot = torch.nn.functional.one_hot(is_white, 10).float()
    views = Views(training=training, preprocessing=DIGITS, relabelled=False)
    torch.manual_seed(1)
    view = views(batch)
    brightness = DIGITS.to_pixels(view.x_NCHW).double().mean((1, 2, 3)) / 255
    assert torch.allclose(view.labels(one_hot)[:, 1].double(), brightness, atol=5e-3)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_processes_get_their_rows_of_the_view_of_one_process(mixup: float) -> None:
    training = Training(mixup=mixup, dead_leaves=0.0, shape_cutmix=0.5)
    pixels = torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8)
    labels = torch.rand(7, 10)

    def view_at(place: Place) -> tuple[torch.Tensor, torch.Tensor, float]:
        rows = Rows(7) if mixup else Rows.of(7, place)  # with mixup a process loads the whole batch
        batch = Batch(rows.take(pixels), rows.take(labels), torch.arange(len(rows.take(pixels))), rows)
        torch.manual_seed(0)
        view = Views(training=training, preprocessing=DIGITS, relabelled=False, place=place)(batch)
        return view.x_NCHW, view.labels(batch.logits), view.weight

    whole_NCHW, whole_NK, weight = view_at(Place())
    assert weight == 1
    parts = [view_at(Place(rank=rank, world=3)) for rank in range(3)]
    assert sum(part[2] for part in parts) == pytest.approx(3)
    for rank, (x_NCHW, labels_NK, _) in enumerate(parts):
        torch.testing.assert_close(x_NCHW, whole_NCHW[rank::3])
        torch.testing.assert_close(labels_NK, whole_NK[rank::3])
