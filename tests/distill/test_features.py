"""Feature distillation: which feature maps are found and matched, and a student that predicts the teacher's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.distill.criterion import Distillation, feature_loss
from dreamdistill.distill.features import (
    FeatureMap,
    FeaturePair,
    Regressor,
    StudentWithRegressors,
    Taps,
    find_feature_maps,
    match_feature_maps,
)
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.views import View
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.networks import NETWORKS, BasicBlock, SmallResNet
from dreamdistill.shared.shards.batches import Batch


def network(name: str, in_channels: int = 3) -> nn.Module:
    return NETWORKS[name].build(num_classes=10, in_channels=in_channels).eval()


def pairs_of(student: nn.Module, teacher: nn.Module, example_NCHW: Tensor) -> list[FeaturePair]:
    return match_feature_maps(find_feature_maps(student, example_NCHW), find_feature_maps(teacher, example_NCHW))


def sizes(maps: list[FeatureMap]) -> list[tuple[int, int]]:
    return [(found.side, found.channels) for found in maps]


def test_feature_maps_are_the_outputs_of_blocks() -> None:
    resnet, x = network("cifar_resnet20"), torch.randn(2, 3, 32, 32)
    ends: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
        ends.append(out)

    for module in resnet.modules():
        if isinstance(module, BasicBlock):
            module.register_forward_hook(keep)
    maps = find_feature_maps(resnet, x)
    assert sizes(maps) == 3 * [(32, 16)] + 3 * [(16, 32)] + 3 * [(8, 64)]
    ends.clear()
    logits, found = Taps(resnet, maps).forward(resnet, x)
    assert all(torch.equal(one, end) for one, end in zip(found, ends, strict=True))
    assert torch.equal(logits, resnet(x))


def test_a_chain_of_convolutions_has_its_activations_as_blocks() -> None:
    vgg, x = network("cifar_vgg11_bn"), torch.randn(2, 3, 32, 32)
    maps = find_feature_maps(vgg, x)
    assert sizes(maps) == [(32, 64), (16, 128), (8, 256), (8, 256), (4, 512), (4, 512), (2, 512), (2, 512)]
    assert all(found.min() >= 0 for found in Taps(vgg, maps).forward(vgg, x)[1])


def test_a_side_without_blocks_has_its_last_map() -> None:
    stem = nn.Conv2d(3, 4, 3, padding=1)
    body = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU())
    net = nn.ModuleList([stem, body])
    net.forward = lambda x: body(stem(x)).mean((2, 3))  # type: ignore[method-assign]
    maps = find_feature_maps(net, torch.zeros(1, 3, 8, 8))
    assert [(found.module, found.side, found.channels) for found in maps] == [("0", 8, 4), ("1.1", 4, 5)]


def test_modules_that_act_in_training_alone_change_no_feature_map() -> None:
    """In evaluation a Dropout returns its input, in training a tensor of its own."""
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Dropout())
    net = nn.Sequential(nn.Sequential(block, copy.deepcopy(block)), nn.Flatten(), nn.Linear(192, 2))
    maps = find_feature_maps(net, torch.zeros(1, 3, 8, 8))
    found = Taps(net, maps).forward(net.train(), torch.randn(2, 3, 8, 8))[1]
    assert len({tensor.data_ptr() for tensor in found}) == len(maps) > 1


@pytest.mark.parametrize(
    ("students", "teachers", "pairs"),
    [
        (3, 9, [(0, 2), (1, 5), (2, 8)]),
        (9, 9, [(2, 2), (5, 5), (8, 8)]),
        (2, 5, [(0, 1), (1, 4)]),
        (3, 1, [(2, 0)]),
    ],
)
def test_blocks_are_paired_at_equal_fractions_of_the_depth(
    students: int, teachers: int, pairs: list[tuple[int, int]]
) -> None:
    student, teacher = (
        [FeatureMap(module=str(number), side=16, channels=8) for number in range(count)]
        for count in (students, teachers)
    )
    found = match_feature_maps(student, teacher)
    assert [(int(pair.student.module), int(pair.teacher.module)) for pair in found] == pairs


def test_an_output_that_is_changed_in_place_is_seen_as_it_ended() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).relu_().mean((2, 3))

    student = InPlace()
    pairs = pairs_of(student, InPlace(), torch.zeros(1, 3, 8, 8))
    logits, prediction = StudentWithRegressors(student, pairs)(torch.randn(2, 3, 8, 8))
    (logits.sum() + prediction.sum()).backward()
    (found,) = Taps(student, find_feature_maps(student, torch.zeros(1, 3, 8, 8))).forward(
        student, torch.randn(2, 3, 8, 8)
    )[1]
    assert found.min() >= 0


def test_networks_are_paired_at_the_sides_that_both_have() -> None:
    student = SmallResNet((1, 1), (5, 7), projection=True, num_classes=10, in_channels=3)  # 32 and 16 pixels
    pairs = pairs_of(student, network("cifar_vgg11_bn"), torch.zeros(1, 3, 32, 32))
    assert [pair.teacher.side for pair in pairs] == [32, 16]
    logits, *predictions = StudentWithRegressors(student, pairs)(torch.randn(2, 3, 32, 32))
    assert [prediction.shape for prediction in predictions] == [(2, 64, 32, 32), (2, 128, 16, 16)]
    assert logits.shape == (2, 10)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    assert pairs_of(flat, student, torch.zeros(1, 3, 32, 32)) == []


def test_predictions_do_not_depend_on_the_scale_of_the_students_maps() -> None:
    torch.manual_seed(0)
    regressor = Regressor(6, 4).train()
    student_map = torch.rand(64, 6, 8, 8)
    assert torch.allclose(regressor(student_map), regressor(100 * student_map), atol=1e-2)


def test_looking_for_feature_maps_leaves_a_student_as_it_was() -> None:
    student = network("digits_cnn", 1).train()
    before = copy.deepcopy(student.state_dict())
    pairs = pairs_of(student, network("digits_cnn", 1), torch.randn(1, 1, 8, 8))
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    trained = StudentWithRegressors(student, pairs)
    trained(torch.randn(4, 1, 8, 8))
    trained.release()
    assert all(not module._forward_hooks for module in student.modules())
    assert student.state_dict().keys() == before.keys()


def test_a_student_without_pairs_has_no_regressors() -> None:
    (logits,) = StudentWithRegressors(network("digits_cnn", 1), [])(torch.randn(2, 1, 8, 8))
    assert logits.shape == (2, 10)


def test_a_fitted_regressor_predicts_what_is_linear_in_the_students_map() -> None:
    torch.manual_seed(0)
    student_NCHW = 3 * torch.randn(16, 5, 8, 8) + 2
    teacher_NCHW = torch.einsum("nchw,dc->ndhw", student_NCHW, torch.randn(7, 5)) + torch.randn(7)[:, None, None]
    regressor = Regressor(5, 7)
    regressor.fit(student_NCHW, teacher_NCHW)
    loss = feature_loss(regressor.train()(student_NCHW), teacher_NCHW, teacher_NCHW.square().mean())
    assert loss.item() < 1e-4


def test_a_copy_of_the_teacher_begins_with_a_loss_of_almost_nothing() -> None:
    torch.manual_seed(0)
    teacher = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1).eval()
    x_NCHW = torch.randn(64, 1, 8, 8)
    training = Training()
    fitted, new = (
        Distillation.of(
            training, student=copy.deepcopy(teacher), teacher=teacher, example_NCHW=x_NCHW[:1], first_NCHW=first_NCHW
        )
        for first_NCHW in (x_NCHW, None)
    )
    batch = Batch(torch.zeros(64, 1, 8, 8), torch.zeros(64, 10), torch.zeros(64, dtype=torch.long), Rows(64))
    view = View(x_NCHW=x_NCHW, rows=Rows(64), batch=batch)
    losses: list[float] = []
    for criterion in (fitted, new):
        network = criterion.wrap(copy.deepcopy(teacher).eval()).train()
        network.student.eval()  # type: ignore[union-attr]
        losses.append(criterion.parts(network(x_NCHW), criterion.targets(view))["features"].item())
    assert losses[0] < 0.02 * losses[1]
