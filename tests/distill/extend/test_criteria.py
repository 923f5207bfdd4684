"""The losses for new classes against plain float64 references, one image and one class at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.distill.criterion import Criterion
from dreamdistill.distill.extend.criteria import (
    ABD,
    DeepInversionLoss,
    JointCrossEntropy,
    LwFMC,
    balanced_weights,
)
from dreamdistill.distill.extend.tapped import WithFeatures, linear_head
from dreamdistill.distill.extend.widening import widen
from dreamdistill.distill.views import View
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.shards.batches import Batch

OLD, ALL = 3, 5
TARGETS = torch.tensor([0, 2, 1, 3, 4, 4])  # three synthetic images, three new ones


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, OLD)
    return nn.Sequential(*layers).double().eval()


def view() -> View:
    generator = torch.Generator().manual_seed(0)
    x_NCHW = torch.randn(6, 1, 2, 2, generator=generator, dtype=torch.float64)
    batch = Batch(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.zeros(6, OLD), TARGETS, Rows(6))
    return View(x_NCHW=x_NCHW, rows=Rows(6), batch=batch)


def student() -> nn.Module:
    """A wider network, moved away from the old one so that no term of a loss is 0."""
    wider, _ = widen(network(0), ALL - OLD, torch.randn(1, 1, 2, 2, dtype=torch.float64))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in wider.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return wider


def losses(criterion: Criterion) -> tuple[Tensor, dict[str, Tensor]]:
    wrapped = criterion.wrap(student())
    seen = view()
    outputs = wrapped(seen.x_NCHW)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    targets = criterion.targets(seen)
    return criterion(outputs, targets), criterion.parts(outputs, targets)


def rows(x: Tensor) -> list[list[float]]:
    return x.detach().tolist()


def softmax(z: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in z)
    return [math.exp(value) / total for value in z]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


COMMON: dict[str, Any] = {"num_old": OLD, "num_classes": ALL}
Z, OLD_Z = rows(student()(view().x_NCHW)), rows(network(0)(view().x_NCHW))


def test_cross_entropy_over_all_classes() -> None:
    found, parts = losses(JointCrossEntropy())
    expected = -sum(math.log(softmax(z)[target]) for z, target in zip(Z, TARGETS.tolist(), strict=True)) / 6
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert parts["loss"].item() == found.item()


def test_lwf_mc_has_a_binary_cross_entropy_for_each_class() -> None:
    found, _ = losses(LwFMC(old=network(0), **COMMON))
    expected = 0.0
    for z, old, target in zip(Z, OLD_Z, TARGETS.tolist(), strict=True):
        labels = [1 / (1 + math.exp(-value)) for value in old] + [float(target == j) for j in (3, 4)]
        sigmoids = [1 / (1 + math.exp(-value)) for value in z]
        terms = zip(labels, sigmoids, strict=True)
        expected -= sum(y * math.log(s) + (1 - y) * math.log(1 - s) for y, s in terms) / 6
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_deepinversions_loss_has_three_parts() -> None:
    found, parts = losses(DeepInversionLoss(old=network(0), **COMMON))
    # Over all classes the old network gives the new ones nothing, so their terms are 0.
    synthetic = sum(kl(softmax(OLD_Z[i]), softmax(Z[i])[:OLD]) for i in (0, 1, 2)) / 3
    new = -sum(math.log(softmax(Z[i])[int(TARGETS[i])]) for i in (3, 4, 5)) / 3
    kept = sum(kl(softmax(OLD_Z[i]), softmax(Z[i][:OLD])) for i in (3, 4, 5)) / 3
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {"synthetic": synthetic, "new": new, "kept": kept}, rel=1e-12
    )
    assert found.item() == pytest.approx(synthetic + new + kept, rel=1e-12)


def test_abd_has_three_parts() -> None:
    weights = [0.5, 2.0, 1.0, 0.7, 0.9]
    weights_J = torch.tensor(weights, dtype=torch.float64)
    found, parts = losses(ABD(old=network(0), head="3", class_weights_J=weights_J, **COMMON))
    new = -sum(math.log(softmax(Z[i][OLD:])[int(TARGETS[i]) - OLD]) for i in (3, 4, 5)) / 3
    answers = [[*softmax(OLD_Z[i]), 0.0, 0.0] for i in (0, 1, 2)]
    labels = [*answers, *([float(j == target) for j in range(ALL)] for target in TARGETS[3:].tolist())]
    head = 0.0
    for z, label in zip(Z, labels, strict=True):
        weight = sum(w * y for w, y in zip(weights, label, strict=True))
        head -= weight * sum(y * math.log(p) for y, p in zip(label, softmax(z), strict=True)) / 6
    old, mine, x_NCHW = network(0), student(), view().x_NCHW
    assert isinstance(mine, nn.Sequential)
    moved = rows((mine[:3](x_NCHW) - old[:3](x_NCHW)) @ old[3].weight.T)  # type: ignore[operator]
    features = 0.1 * sum(value**2 for row in moved for value in row) / 6
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {"new": new, "head": head, "features": features}, rel=1e-12
    )
    assert found.item() == pytest.approx(new + head + features, rel=1e-12)


def test_abds_second_part_moves_the_head_alone() -> None:
    criterion = ABD(old=network(0), head="3", class_weights_J=torch.ones(ALL, dtype=torch.float64), **COMMON)
    wrapped = criterion.wrap(student())
    assert isinstance(wrapped, WithFeatures)
    criterion.parts(wrapped(view().x_NCHW), criterion.targets(view()))["head"].backward()
    moved = {name for name, parameter in wrapped.network.named_parameters() if parameter.grad is not None}
    assert moved == {"3.weight", "3.bias"}
    criterion.release(wrapped)
    assert not wrapped.network.get_submodule("3")._forward_pre_hooks


@pytest.mark.parametrize("kind", [DeepInversionLoss, LwFMC])
def test_gradients_by_finite_differences(kind: type[Criterion]) -> None:
    criterion = kind(old=network(0), **COMMON)  # type: ignore[call-arg]
    targets = criterion.targets(view())
    logits = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: criterion((z,), targets), (logits,))


def test_a_batch_of_new_images_alone_has_finite_losses() -> None:
    """``--share 1`` replays nothing: the part of the synthetic images is 0 then, and not NaN."""
    criterion = DeepInversionLoss(old=network(0), **COMMON)
    log_old_NK, targets_N, is_new_N = criterion.targets(view())
    parts = criterion.parts((torch.tensor(Z)[3:],), (log_old_NK[3:], targets_N[3:], is_new_N[3:]))
    assert parts["synthetic"].item() == 0
    assert parts["new"].item() > 0


def test_balanced_weights_let_each_class_count_alike() -> None:
    """Two old classes of 30 and 10 images, one new one of 5, in batches of a quarter of new images."""
    found = balanced_weights(torch.tensor([30, 10]), torch.tensor([5]), 0.25)
    shares = torch.tensor([0.75 * 30 / 40, 0.75 * 10 / 40, 0.25])
    torch.testing.assert_close(found * shares, torch.full((3,), 1 / 3))
    assert (found * shares).sum().item() == pytest.approx(1)
    assert balanced_weights(torch.tensor([4, 0]), torch.tensor([4]), 0.5).tolist() == [1, 0, 1]


def test_a_linear_head_is_found_where_the_logits_are_its_outputs() -> None:
    example = torch.randn(2, 1, 2, 2, dtype=torch.float64)
    assert linear_head(network(0), ("3",), example) == "3"
    scaled = nn.Sequential(network(0), nn.Softplus())
    assert linear_head(scaled, ("0.3",), example) is None
    assert linear_head(nn.Sequential(nn.Conv2d(1, 2, 1)).double(), ("0",), example) is None
