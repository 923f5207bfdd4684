"""Accuracy on old, new and all classes, from answers that are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dreamdistill.distill.extend.measuring import Measured
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.data.array_images import to_image
from dreamdistill.shared.data.labelled_set import LabelledSet
from dreamdistill.shared.models.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(mean=(0.5,), std=(0.5,), image_size=2)
OLD, ALL = 2, 4


def images(*answers_and_labels: tuple[int, int]) -> LabelledSet:
    """Grey images whose value is the class that is to be answered."""
    pairs = [(to_image(torch.full((2, 2), answer, dtype=torch.uint8)), label) for answer, label in answers_and_labels]
    return LabelledSet(name="some", count=len(pairs), read=lambda: iter(pairs))


def answer(pixels_NCHW: Tensor, classes: int = ALL) -> Tensor:
    return F.one_hot(pixels_NCHW[:, 0, 0, 0].long(), classes).float()


def measured(found: LabelledSet) -> Measured:
    return Measured.of(answer, found, PREPROCESSING, old=OLD, num_classes=ALL)


def test_old_new_and_all_classes_are_measured_in_one_label_space() -> None:
    """Of three old images one is right and one is taken for a new class; of two new ones one is right."""
    found = measured(images((0, 0), (2, 0), (0, 1), (3, 3), (2, 3)))
    assert (found.top1_old, found.top1_new, found.top1_joint) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    assert found.confusion_JJ.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_a_network_of_the_old_classes_is_never_right_about_the_new_ones() -> None:
    def old_answer(pixels_NCHW: Tensor) -> Tensor:
        return answer(pixels_NCHW.clamp_max(1), OLD) - 9  # logits may be negative

    shown = images((0, 0), (1, 1), (2, 2), (3, 3))
    found = Measured.of(old_answer, shown, PREPROCESSING, old=OLD, num_classes=ALL)
    assert (found.top1_old, found.top1_new) == (1, 0)


@pytest.mark.parametrize(("label", "kind"), [(0, "new"), (2, "old")])
def test_images_of_one_kind_alone_are_refused(label: int, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"no images of the {kind} classes"):
        measured(images((label, label)))
