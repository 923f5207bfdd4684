"""Hints: which feature maps they are, the loss against a float64 reference, and a student that takes them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dreamdistill.distill.criterion import feature_loss
from dreamdistill.distill.features import (
    FeatureMap,
    StudentWithRegressors,
    find_feature_maps,
    forward_with_features,
    match_feature_maps,
)
from dreamdistill.shared.models.networks import NETWORKS, BasicBlock, SmallResNet

SQUARE = torch.tensor(2.5, dtype=torch.float64)


def maps(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name: str) -> nn.Module:
    return NETWORKS[name].build(num_classes=10, in_channels=3).eval()


def test_hint_loss_is_the_mean_square_that_is_missed_in_units_of_the_hints() -> None:
    guess, hint = maps(0).numpy(), maps(1).numpy()
    expected = np.mean((guess - hint / np.sqrt(2.5)) ** 2)
    assert feature_loss(maps(0), maps(1), SQUARE).item() == pytest.approx(expected, rel=1e-12)
    assert feature_loss(0 * maps(1), maps(1), maps(1).square().mean()).item() == pytest.approx(1, rel=1e-12)


def test_its_gradient_by_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda x: feature_loss(x, maps(1), SQUARE), (maps(0).requires_grad_(),))


def test_a_dead_layer_does_not_end_the_training() -> None:
    assert torch.isfinite(feature_loss(maps(0), 0 * maps(1), torch.zeros(())))


def sides(hinted: StudentWithRegressors) -> list[int]:
    return [place.side for place in hinted.places]


def test_hints_are_the_outputs_of_blocks() -> None:
    resnet, x = network("cifar_resnet20"), torch.randn(2, 3, 32, 32)
    ends: list[torch.Tensor] = []
    for module in resnet.modules():
        if isinstance(module, BasicBlock):
            module.register_forward_hook(lambda _, __, out: ends.append(out))
    places = find_feature_maps(resnet, x)
    assert [(place.side, channels) for place, channels in places.items()] == 3 * [(32, 16)] + 3 * [(16, 32)] + 3 * [
        (8, 64)
    ]
    ends.clear()
    logits, found = forward_with_features(resnet, x, places)
    assert list(found) == list(places)
    assert all(torch.equal(found[place], end) for place, end in zip(places, ends, strict=True))
    assert torch.equal(logits, resnet(x))


def test_a_chain_of_convolutions_has_its_activations_as_blocks() -> None:
    vgg, x = network("cifar_vgg11_bn"), torch.randn(2, 3, 32, 32)
    places = find_feature_maps(vgg, x)
    channels = [(place.side, channels) for place, channels in places.items()]
    assert channels == [(32, 64), (16, 128), (8, 256), (8, 256), (4, 512), (4, 512), (2, 512), (2, 512)]
    assert all(found.min() >= 0 for found in forward_with_features(vgg, x, places)[1].values())


def test_a_side_without_blocks_hints_with_its_last_map() -> None:
    stem = nn.Conv2d(3, 4, 3, padding=1)
    body = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU())
    net = nn.ModuleList([stem, body])
    net.forward = lambda x: body(stem(x)).mean((2, 3))  # type: ignore[method-assign]
    assert find_feature_maps(net, torch.zeros(1, 3, 8, 8)) == {FeatureMap(8, "0"): 4, FeatureMap(4, "1.1"): 5}


def test_what_acts_in_training_alone_moves_no_hint() -> None:
    """In evaluation a Dropout puts out what it got, in training a map of its own."""
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Dropout())
    net = nn.Sequential(nn.Sequential(block, copy.deepcopy(block)), nn.Flatten(), nn.Linear(192, 2))
    places = list(find_feature_maps(net, torch.zeros(1, 3, 8, 8)))
    seen = forward_with_features(net.train(), torch.randn(2, 3, 8, 8), places)[1]
    assert list(seen) == places
    assert len({found.data_ptr() for found in seen.values()}) == len(places) > 1


@pytest.mark.parametrize(
    ("own", "given", "pairs"),
    [
        (3, 9, [(0, 2), (1, 5), (2, 8)]),
        (9, 9, [(2, 2), (5, 5), (8, 8)]),
        (2, 5, [(0, 1), (1, 4)]),
        (3, 1, [(2, 0)]),
    ],
)
def test_blocks_are_paired_by_their_share_of_the_depth(own: int, given: int, pairs: list[tuple[int, int]]) -> None:
    found = match_feature_maps(
        [FeatureMap(16, str(number)) for number in range(own)], [FeatureMap(16, str(n)) for n in range(given)]
    )
    assert [(int(mine.name), int(theirs.name)) for mine, theirs in found] == pairs


def test_what_is_changed_in_place_is_seen_as_it_ended() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).relu_().mean((2, 3))

    hinted = StudentWithRegressors(InPlace(), InPlace(), torch.zeros(1, 3, 8, 8))
    logits, guess = hinted(torch.randn(2, 3, 8, 8))
    (logits.sum() + guess.sum()).backward()
    assert forward_with_features(hinted.student, torch.randn(2, 3, 8, 8))[1][FeatureMap(8, "conv")].min() >= 0


def test_networks_share_the_hints_of_sides_that_both_have() -> None:
    student = SmallResNet((1, 1), (5, 7), projection=True, num_classes=10, in_channels=3)  # 32 and 16 pixels
    hinted = StudentWithRegressors(student, network("cifar_vgg11_bn"), torch.zeros(1, 3, 32, 32))
    assert sides(hinted) == [32, 16]
    logits, *guesses = hinted(torch.randn(2, 3, 32, 32))
    assert [guess.shape for guess in guesses] == [(2, 64, 32, 32), (2, 128, 16, 16)]
    assert logits.shape == (2, 10)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    assert StudentWithRegressors(flat, student, torch.zeros(1, 3, 32, 32)).places == []


def test_guesses_do_not_depend_on_the_scale_of_the_students_maps() -> None:
    torch.manual_seed(0)
    hinted = StudentWithRegressors(network("digits_cnn"), network("digits_cnn"), torch.zeros(1, 3, 8, 8)).train()
    for guess, place in zip(hinted.guesses, hinted.places, strict=True):
        own = torch.rand(64, guess.norm.num_features, place.side, place.side)
        assert torch.allclose(guess(own), guess(100 * own), atol=1e-2)


def test_looking_for_hints_leaves_a_student_as_it_was() -> None:
    student = network("digits_cnn").train()
    before = copy.deepcopy(student.state_dict())
    StudentWithRegressors(student, network("digits_cnn"), torch.randn(1, 3, 8, 8))(torch.randn(4, 3, 8, 8))
    assert student.training
    assert all(not module._forward_hooks for module in student.modules())
    assert student.state_dict().keys() == before.keys()
    assert StudentWithRegressors(student, None, torch.zeros(1, 3, 8, 8)).places == []
