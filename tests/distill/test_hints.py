"""Hints: which feature maps they are, the loss against a float64 reference, and a student that takes them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dreamdistill.distill.hints import Hinted, observe
from dreamdistill.distill.objective import hint_loss
from dreamdistill.shared.networks import NETWORKS, SmallResNet

SQUARE = torch.tensor(2.5, dtype=torch.float64)


def maps(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name: str) -> nn.Module:
    return NETWORKS[name].build(num_classes=10, in_channels=3).eval()


def test_hint_loss_is_the_mean_square_that_is_missed_in_units_of_the_hints() -> None:
    guess, hint = maps(0).numpy(), maps(1).numpy()
    expected = np.mean((guess - hint / np.sqrt(2.5)) ** 2)
    assert hint_loss(maps(0), maps(1), SQUARE).item() == pytest.approx(expected, rel=1e-12)
    assert hint_loss(0 * maps(1), maps(1), maps(1).square().mean()).item() == pytest.approx(1, rel=1e-12)


def test_its_gradient_by_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda x: hint_loss(x, maps(1), SQUARE), (maps(0).requires_grad_(),))


def test_a_dead_layer_does_not_end_the_training() -> None:
    assert torch.isfinite(hint_loss(maps(0), 0 * maps(1), torch.zeros(())))


def test_a_hint_is_the_end_of_a_stage() -> None:
    resnet, x = network("cifar_resnet20"), torch.randn(2, 3, 32, 32)
    ends: dict[int, torch.Tensor] = {}
    for name in ("layer1", "layer2", "layer3"):
        stage = resnet.get_submodule(name)
        stage.register_forward_hook(lambda _, __, out: ends.update({out.shape[3]: out}))
    logits, found = observe(resnet, x)
    assert list(found) == [32, 16, 8]
    assert all(torch.equal(found[side], ends[side]) for side in found)
    assert torch.equal(logits, resnet(x))


def test_what_is_changed_in_place_is_seen_as_it_ended() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).relu_().mean((2, 3))

    hinted = Hinted(InPlace(), InPlace(), torch.zeros(1, 3, 8, 8))
    logits, guess = hinted(torch.randn(2, 3, 8, 8))
    (logits.sum() + guess.sum()).backward()
    assert observe(hinted.student, torch.randn(2, 3, 8, 8))[1][8].min() >= 0


def test_networks_share_the_hints_of_sides_that_both_have() -> None:
    student = SmallResNet((1, 1), (5, 7), projection=True, num_classes=10, in_channels=3)  # 32 and 16 pixels
    hinted = Hinted(student, network("cifar_vgg11_bn"), torch.zeros(1, 3, 32, 32))
    assert hinted.sides == [32, 16]
    logits, *guesses = hinted(torch.randn(2, 3, 32, 32))
    assert [guess.shape for guess in guesses] == [(2, 64, 32, 32), (2, 128, 16, 16)]
    assert logits.shape == (2, 10)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    assert Hinted(flat, student, torch.zeros(1, 3, 32, 32)).sides == []


def test_guesses_do_not_depend_on_the_scale_of_the_students_maps() -> None:
    torch.manual_seed(0)
    hinted = Hinted(network("digits_cnn"), network("digits_cnn"), torch.zeros(1, 3, 8, 8)).train()
    for side in hinted.sides:
        own = torch.rand(64, hinted.guesses[str(side)].norm.num_features, side, side)
        guess = hinted.guesses[str(side)](own)
        assert torch.allclose(guess, hinted.guesses[str(side)](100 * own), atol=1e-2)


def test_looking_for_hints_leaves_a_student_as_it_was() -> None:
    student = network("digits_cnn").train()
    before = copy.deepcopy(student.state_dict())
    Hinted(student, network("digits_cnn"), torch.randn(1, 3, 8, 8))(torch.randn(4, 3, 8, 8))
    assert student.training
    assert all(not module._forward_hooks for module in student.modules())
    assert student.state_dict().keys() == before.keys()
    assert Hinted(student, None, torch.zeros(1, 3, 8, 8)).sides == []
