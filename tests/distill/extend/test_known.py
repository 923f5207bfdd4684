"""New classes that the teacher knows already, found by its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from dreamdistill.distill.extend.known import Known, known_classes, suspicion
from dreamdistill.distill.extend.new_images import NewImages
from dreamdistill.shared.models.classifier import Classifier


class Bright(nn.Module):
    """Answers the tens of an image's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.arange(5.0), requires_grad=False)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return -(x_NCHW.mean((1, 2, 3))[:, None] * 25.5 - self.centres).abs()


def images(levels: list[int], labels: list[int], names: tuple[str, ...] = ()) -> NewImages:
    pixels_NCHW = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    return NewImages(
        pixels_NCHW=pixels_NCHW, labels_N=torch.tensor(labels), num_classes=max(labels) + 1, class_names=names
    )


@pytest.fixture
def teacher() -> Classifier:
    return Classifier(Bright(), mean=(0.0,), std=(1.0,), image_size=8, class_names=("black", "b", "c", "d", "grey"))


def test_a_class_that_is_answered_alike_is_known(teacher: Classifier) -> None:
    new = images([20] * 39 + [30] + [0, 10, 20, 30] * 5, [0] * 40 + [1] * 20, ("new", "mixed"))
    known = known_classes(teacher, new)
    assert known == [Known(new=0, old=2, alike=39, images=40)]
    said = suspicion(known, teacher, new)
    assert said is not None
    assert "'new' may be the teacher's 'c', which it answers for 39 of 40 images" in said
    assert suspicion([], teacher, new) is None


def test_a_dry_run_does_not_look_for_long(teacher: Classifier) -> None:
    assert known_classes(teacher, images([20] * 40, [0] * 40), patience=-1) == []


@pytest.mark.parametrize(
    ("alike", "of", "is_known"), [(19, 19, False), (20, 20, True), (39, 40, True), (38, 40, False)]
)
def test_few_images_must_all_be_alike(teacher: Classifier, alike: int, of: int, is_known: bool) -> None:
    new = images([20] * alike + [0] * (of - alike), [0] * of)
    assert bool(known_classes(teacher, new)) == is_known


def test_digits_that_the_teacher_knows(di: Callable, five_digits: Path, tmp_path: Path) -> None:
    options = ["--shards", five_digits, "--out", tmp_path / "x", "--dry-run"]
    same = di("di-extend", *options, "--new", "digits:train:0-4")
    assert same.code == 0
    assert "'0' may be the teacher's '0'" in same.stderr
    assert "leave their images out" in same.stderr
    assert "seems to know" not in di("di-extend", *options, "--new", "digits:train:5-9").stderr
