"""The losses of knowledge distillation against float64 references, and which labels they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dreamdistill.distill.criterion import Distillation, distillation_loss, feature_loss
from dreamdistill.distill.labeller import soften
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.views import View
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.shards.batches import Batch

MEAN_SQUARE = torch.tensor(2.5, dtype=torch.float64)


def logits(seed: int) -> Tensor:
    return torch.randn(6, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(seed: int) -> Tensor:
    return torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_loss_is_the_kl_times_temperature_squared(temperature: float) -> None:
    teacher, student = logits(0), logits(1)
    p, q = (torch.softmax(z / temperature, 1).numpy() for z in (teacher, student))
    expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(1).mean()
    found = distillation_loss(student, soften(teacher, temperature), temperature)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert distillation_loss(teacher, soften(teacher, temperature), temperature).item() == pytest.approx(0, abs=1e-12)


def test_gradient_of_the_distillation_loss_by_finite_differences() -> None:
    soft = soften(logits(0), 3.0)
    assert torch.autograd.gradcheck(lambda z: distillation_loss(z, soft, 3.0), (logits(1).requires_grad_(),))


def test_feature_loss_is_the_mean_squared_error_in_units_of_the_feature() -> None:
    prediction, feature = maps(0).numpy(), maps(1).numpy()
    expected = np.mean((prediction - feature / np.sqrt(2.5)) ** 2)
    assert feature_loss(maps(0), maps(1), MEAN_SQUARE).item() == pytest.approx(expected, rel=1e-12)
    assert feature_loss(0 * maps(1), maps(1), maps(1).square().mean()).item() == pytest.approx(1, rel=1e-12)


def test_gradient_of_the_feature_loss_by_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda x: feature_loss(x, maps(1), MEAN_SQUARE), (maps(0).requires_grad_(),))


def test_feature_loss_of_a_layer_of_zeros_is_finite() -> None:
    assert torch.isfinite(feature_loss(maps(0), 0 * maps(1), torch.zeros(())))


@pytest.mark.parametrize(("labels", "feature_weight"), [("teacher", 7.0), ("teacher", 0.0), ("stored", 7.0)])
def test_the_loss_is_the_sum_of_its_parts(labels: str, feature_weight: float) -> None:
    """Soft labels of the teacher for the view, or the stored ones; feature distillation only with the teacher."""
    torch.manual_seed(0)
    teacher = load_model("digits_cnn").network
    student = NETWORKS["digits_cnn_small"].build(num_classes=10, in_channels=1).eval()
    training = Training(labels=labels, feature_weight=feature_weight, temperature=2.0)
    x_NCHW, stored_NK = torch.randn(5, 1, 8, 8), torch.randn(5, 10)
    batch = Batch(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), stored_NK, torch.arange(5), Rows(5))
    criterion = Distillation.of(training, student=student, teacher=teacher, example_NCHW=x_NCHW[:1])
    network = criterion.wrap(student).eval()

    outputs = network(x_NCHW)
    found = criterion(outputs, criterion.targets(View(x_NCHW=x_NCHW, rows=Rows(5), batch=batch)))

    teacher_NK = stored_NK if labels == "stored" else teacher(x_NCHW)
    expected = distillation_loss(student(x_NCHW), soften(teacher_NK, 2.0), 2.0)
    assert len(outputs) == 1 + len(criterion.pairs)
    assert bool(criterion.pairs) == (labels == "teacher" and feature_weight > 0)
    if criterion.pairs:
        ends: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
            ends.append(out)

        for pair in criterion.pairs:
            teacher.get_submodule(pair.teacher.module).register_forward_hook(keep)
        teacher(x_NCHW)
        losses = [
            feature_loss(prediction, end, end.square().mean())
            for prediction, end in zip(outputs[1:], ends, strict=True)
        ]
        expected = expected + feature_weight * torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
