"""A student that is a part of its teacher begins with the parts that are worth most; others begin anew."""

from __future__ import annotations

import copy

import pytest
import torch
from random_networks import resnet20_of
from torch import nn

from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.structure.inheritance import find_lineage, inherit
from dreamdistill.shared.structure.values import Answers

X_NCHW = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS_N = torch.arange(96) % 10


def new(name: str, classes: int = 10) -> nn.Module:
    torch.manual_seed(1)
    return NETWORKS[name].build(num_classes=classes, in_channels=3).eval()


@pytest.mark.parametrize(
    ("teacher", "student", "fewer"),
    [
        ("cifar_resnet56", "cifar_resnet20", 18),
        ("cifar_resnet20", "cifar_resnet56", None),
        ("cifar_resnet20", "cifar_resnet20", None),
        ("cifar_resnet20", "cifar_resnet18", None),
    ],
)
def test_a_student_of_the_family_is_a_part_of_its_teacher(teacher: str, student: str, fewer: int | None) -> None:
    found = find_lineage(new(teacher), new(student), X_NCHW[:1])
    assert (found and len(found.dropped)) == fewer
    kept = {f"layer{stage}.{number}" for stage in (1, 2, 3) for number in (0, 3, 6)}  # each stands for three
    assert found is None or not kept & set(found.dropped)


@pytest.mark.parametrize(
    ("teacher", "student", "is_part"),
    [
        ("resnet34", "resnet18", True),
        ("resnet50", "resnet18", False),  # of other blocks
        ("resnet101", "resnet50", True),
        ("wide_resnet50_2", "resnet50", True),  # narrower inside of the blocks
        ("mobilenet_v2", "mobilenet_v3_small", False),
        ("mnasnet1_0", "mnasnet0_5", True),  # narrower everywhere
        ("vgg11_bn", "vgg11_bn", False),
        ("timm/resnet26d", "timm/resnet10t", False),
    ],
)
def test_real_networks(teacher: str, student: str, is_part: bool) -> None:
    large, small = (
        load_model(name, weights="none", num_classes=10, image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3).network.eval()
        for name in (teacher, student)
    )
    before = copy.deepcopy(small.state_dict())
    assert (find_lineage(large, small, torch.randn(1, 3, 64, 64)) is not None) == is_part
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


class TwoStages(nn.Module):
    """A small network of residual blocks, as wide inside and as deep as one likes."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(*(Residual(16, width) for _ in range(blocks)))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)))


class Residual(nn.Module):
    def __init__(self, outer: int, inner: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(outer, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, outer, 3, padding=1, bias=False),
            nn.BatchNorm2d(outer),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def test_it_begins_with_blocks_at_even_distances_and_the_channels_that_are_worth_most() -> None:
    torch.manual_seed(0)
    teacher = TwoStages(24, 5).eval()
    with torch.no_grad():
        for number in (2, 4):  # blocks that add almost nothing
            teacher.blocks[number].branch[4].weight.mul_(1e-3)  # type: ignore[index, operator, union-attr]
        for block in teacher.blocks:
            block.branch[1].weight[8:] = 0  # type: ignore[index, operator, union-attr]
    torch.manual_seed(1)
    student = TwoStages(8, 3).eval()
    example = X_NCHW[:1]
    lineage = find_lineage(teacher, student, example)
    assert lineage is not None
    assert list(lineage.dropped) == ["blocks.2", "blocks.4"]
    before = copy.deepcopy(teacher.state_dict())

    inherit(student, teacher, lineage, lambda: [(X_NCHW, TARGETS_N)], example)

    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert Answers.of(teacher, X_NCHW).change(student) < 1e-3
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_a_resnet_of_a_third_of_the_blocks_comes_closer_than_a_new_one() -> None:
    teacher, student = resnet20_of(X_NCHW), new("cifar_resnet20")
    for stage in ("layer1", "layer2", "layer3"):
        chain = student.get_submodule(stage)
        del chain[2]  # type: ignore[index, operator]
    lineage = find_lineage(teacher, student, X_NCHW[:1])
    assert lineage is not None
    answers = Answers.of(teacher, X_NCHW)
    before = answers.change(student)
    inherit(student, teacher, lineage, lambda: [(X_NCHW, TARGETS_N)], X_NCHW[:1])
    assert answers.change(student) < 0.3 * before
