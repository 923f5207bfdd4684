"""Each term against a plain float64 reference, gradients by finite differences, and golden values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamdistill.invert.objective import Objective, competition, l2_norm, similarity, total_variation
from dreamdistill.invert.recipe import Recipe
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.networks import NETWORKS

GOLDEN = Path(__file__).with_name("golden_objective.json")
ALL_TERMS = Recipe(
    steps=(1,),
    alpha_class=0.7,
    alpha_tv=0.02,
    alpha_l2=0.03,
    alpha_feature=0.5,
    alpha_compete=0.9,
    alpha_similar=0.8,
    first_bn=10.0,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_total_variation_is_four_norms_per_image_then_a_mean() -> None:
    x = random(3, 2, 5, 6).numpy()
    expected = 0.0
    for image in x:
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            squares = 0.0
            for c in range(2):
                for i in range(5):
                    for j in range(6):
                        if i + down < 5 and 0 <= j + right < 6:
                            squares += (image[c, i + down, j + right] - image[c, i, j]) ** 2
            expected += math.sqrt(squares) / 3
    assert total_variation(torch.from_numpy(x)).item() == pytest.approx(expected, rel=1e-12)


def test_l2_norm_is_one_norm_per_image_then_a_mean() -> None:
    x = random(4, 3, 5, 5)
    expected = np.mean([math.sqrt((image**2).sum()) for image in x.numpy()])
    assert l2_norm(x).item() == pytest.approx(expected, rel=1e-12)


def test_similarity_is_the_mean_cosine_over_pairs_of_one_class() -> None:
    features, targets = random(5, 3), [0, 1, 0, 2, 0]
    cosines = [
        float(np.dot(a, b) / math.sqrt((a**2).sum() * (b**2).sum()))
        for i, a in enumerate(features.numpy())
        for j, b in enumerate(features.numpy())
        if i != j and targets[i] == targets[j]
    ]
    assert similarity(features, torch.tensor(targets)).item() == pytest.approx(np.mean(cosines), rel=1e-12)
    assert similarity(features, torch.arange(5)).item() == 0


def test_competition_is_one_minus_js_divided_by_its_maximum() -> None:
    teacher, student = random(5, 10), random(5, 10, seed=1)
    p, q = (torch.softmax(z / 3, 1).numpy() for z in (teacher, student))
    m = (p + q) / 2
    js = 0.5 * (p * np.log(p / m)).sum(1) + 0.5 * (q * np.log(q / m)).sum(1)
    assert competition(teacher, student, 3.0).item() == pytest.approx(1 - js.mean() / math.log(2), rel=1e-10)


def test_competition_lies_between_0_and_1_and_has_a_gradient_with_1000_classes() -> None:
    logits = torch.zeros(2, 1000)
    logits[:, 7] = 200.0
    other = torch.zeros(2, 1000)
    other[:, 8] = 200.0
    assert competition(logits, logits, 3.0).item() == pytest.approx(1.0)
    assert competition(logits, other, 3.0).item() == pytest.approx(0.0, abs=1e-6)
    student = torch.randn(2, 1000, requires_grad=True)
    competition(logits, student, 3.0).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "term",
    [
        total_variation,
        l2_norm,
        lambda x: competition(x.flatten(1), random(2, 32, seed=5), 3.0),
        lambda x: competition(random(2, 32, seed=5), x.flatten(1), 3.0),
        lambda x: similarity(x.flatten(1), torch.tensor([3, 3])),
    ],
)
def test_gradients_by_finite_differences(term: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(term, (random(2, 2, 4, 4).requires_grad_(),), atol=1e-7)


def objective_on(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """All terms, with a fixed random teacher and student, in the precision of ``x``."""
    networks = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1)
        networks.append(network.to(x.dtype).eval().requires_grad_(False))
    teacher, student = networks
    return Objective(ALL_TERMS, teacher, student=student)(x, x.roll((1, 1), (2, 3)), torch.arange(len(x)) % 10)


def test_the_whole_objective_is_the_weighted_sum() -> None:
    loss, terms = objective_on(random(4, 1, 8, 8))
    weights = {"class": 0.7, "tv": 0.02, "l2": 0.03, "feature": 0.5, "compete": 0.9, "similar": 0.8}
    assert terms.keys() == weights.keys()
    assert loss.item() == pytest.approx(sum(weights[name] * term.item() for name, term in terms.items()), rel=1e-12)


def test_the_whole_gradient_by_central_differences() -> None:
    x = random(4, 1, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(objective_on(x)[0], x)
    step = 1e-6
    for place in [(0, 0, 0, 0), (1, 0, 3, 4), (2, 0, 7, 7), (3, 0, 5, 1)]:
        nudge = torch.zeros_like(x)
        nudge[place] = step
        with torch.no_grad():
            slope = (objective_on(x + nudge)[0] - objective_on(x - nudge)[0]) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-8)


def test_float32_agrees_with_float64() -> None:
    x = random(8, 1, 8, 8)
    _, precise = objective_on(x)
    _, single = objective_on(x.float())
    for name, term in precise.items():
        assert single[name].item() == pytest.approx(term.item(), rel=1e-4), name


def test_golden_values() -> None:
    """The objective with the shipped teacher on fixed noise. Change the file only for an intended change of values."""
    teacher = load_model("digits_cnn").network
    x = random(16, 1, 8, 8, seed=9).float()
    loss, terms = Objective(ALL_TERMS.changed({"alpha_compete": 0.0}), teacher)(x, x, torch.arange(16) % 10)
    found = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-4)
