"""Random augmentation: its effect on an image, and that parts of a batch get the same as in the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.data import augment


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_each_image_has_a_shift_of_its_own_up_to_the_limit() -> None:
    torch.manual_seed(0)
    x = torch.zeros(64, 1, 16, 16)
    x[:, :, 8, 8] = 1
    places = augment.random_shift(x, Rows(len(x)), 2).flatten(1).argmax(1)
    rows, columns = places // 16, places % 16
    assert set(rows.tolist()) == set(columns.tolist()) == {6, 7, 8, 9, 10}
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) > 10


def test_windows_lie_anywhere_inside_the_image(draw: torch.Generator) -> None:
    x = torch.arange(100.0).view(1, 1, 10, 10).expand(400, 1, 10, 10)
    windows = augment.random_window(x, Rows(400), 6, generator=draw)
    corners = windows[:, 0, 0, 0].long()
    places = set(zip((corners // 10).tolist(), (corners % 10).tolist(), strict=True))
    assert places == {(row, column) for row in range(5) for column in range(5)}
    row, column = int(corners[0]) // 10, int(corners[0]) % 10
    assert torch.equal(windows[0], x[0, :, row : row + 6, column : column + 6])


def test_the_fill_value_enters_at_the_edges(draw: torch.Generator) -> None:
    x, fill = torch.ones(50, 2, 8, 8), torch.tensor([-3.0, 5.0])[:, None, None]
    moved = augment.random_shift(x, Rows(50), 3, fill_C11=fill, generator=draw)
    assert set(moved[:, 0].unique().tolist()) == {-3.0, 1.0}
    assert set(moved[:, 1].unique().tolist()) == {1.0, 5.0}


def test_the_generator_determines_the_result(draw: torch.Generator) -> None:
    x = torch.randn(9, 1, 16, 16)
    functions: list[Callable[..., Tensor]] = [
        partial(augment.random_shift, pad=2),
        augment.random_flip,
        partial(augment.random_resized_crop, min_area=0.3),
    ]
    for function in functions:
        torch.manual_seed(0)
        first = function(x, Rows(9), generator=draw.manual_seed(5))
        torch.manual_seed(1)
        assert torch.equal(first, function(x, Rows(9), generator=draw.manual_seed(5)))


def test_about_half_of_the_images_are_mirrored() -> None:
    torch.manual_seed(0)
    x = torch.arange(4.0).expand(200, 1, 4, 4)
    flipped = (augment.random_flip(x, Rows(len(x))) != x).any(3).any(2).any(1)
    assert 70 < flipped.sum() < 130
    assert torch.equal(augment.random_flip(x, Rows(len(x)))[~flipped][0], x[0]) or flipped.all()


def test_resized_crops_are_parts_of_the_image() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 32).expand(50, 1, 32, 32).contiguous()
    whole = augment.random_resized_crop(ramp, Rows(len(ramp)), 1.0)
    parts = augment.random_resized_crop(ramp, Rows(len(ramp)), 0.08)
    spread = (parts.amax((1, 2, 3)) - parts.amin((1, 2, 3))) / (whole.amax() - whole.amin())
    assert spread.min() < 0.45
    assert spread.max() <= 1.0
    assert parts.amin() >= 0
    assert parts.amax() <= 1


@pytest.mark.parametrize("name", ["random_shift", "random_window", "random_resized_crop", "random_flip"])
def test_rows_of_a_batch_are_augmented_as_in_the_whole(name: str) -> None:
    function = getattr(augment, name)
    settings = {"random_resized_crop": (0.3,), "random_shift": (2,), "random_window": (12,)}.get(name, ())
    x = torch.randn(7, 2, 16, 16)
    torch.manual_seed(0)
    whole = function(x, Rows(7), *settings)
    for rank in range(3):
        rows = Rows(7, rank, 3)
        torch.manual_seed(0)
        assert torch.equal(function(rows.take(x), rows, *settings), rows.take(whole))
