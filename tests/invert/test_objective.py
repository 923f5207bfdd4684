"""Every term against a plain float64 reference, gradients by finite differences, and golden values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamdistill.invert.objective import Objective, competition, l2_norm, similarity, total_variation
from dreamdistill.invert.priors import TappedNetwork, statistics_distance
from dreamdistill.invert.recipe import Recipe
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.features import batchnorm_layers, classifier
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


def test_total_variation_is_four_norms_an_image_averaged() -> None:
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


def test_l2_norm_is_a_norm_an_image_averaged() -> None:
    x = random(4, 3, 5, 5)
    expected = np.mean([math.sqrt((image**2).sum()) for image in x.numpy()])
    assert l2_norm(x).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (7, 3)])
def test_statistics_distance_takes_the_biased_variance(shape: tuple[int, ...]) -> None:
    x, mean, var = random(*shape), random(3, seed=1), random(3, seed=2).abs()
    flat = np.moveaxis(x.numpy(), 1, 0).reshape(3, -1)
    mu = flat.mean(1)
    sigma = ((flat - mu[:, None]) ** 2).mean(1)
    expected = math.sqrt(((mu - mean.numpy()) ** 2).sum()) + math.sqrt(((sigma - var.numpy()) ** 2).sum())
    assert statistics_distance(x, mean, var).item() == pytest.approx(expected, rel=1e-12)


def test_relative_statistics_are_in_units_of_the_layer_and_averaged() -> None:
    teacher = load_model("digits_cnn")
    network, x = teacher.network, random(6, 1, 8, 8).float()
    expected = []
    for layer in batchnorm_layers(network):
        seen: list[Tensor] = []
        handle = layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        network(x)
        handle.remove()
        flat = np.moveaxis(seen[0].double().numpy(), 1, 0).reshape(layer.num_features, -1)
        mean, var = layer.running_mean.double().numpy(), layer.running_var.double().numpy()
        by_mean = np.linalg.norm(flat.mean(1) - mean) / np.linalg.norm(np.sqrt(var))
        expected.append(by_mean + np.linalg.norm(flat.var(1) - var) / np.linalg.norm(var))
    recipe = Recipe(steps=(1,), alpha_feature=2.0, alpha_class=0.0, statistics="relative")
    loss, terms = Objective(recipe, network)(x, x, torch.zeros(6, dtype=torch.int64))
    assert terms["feature"].item() == pytest.approx(np.mean(expected), rel=1e-4)
    assert loss.item() == pytest.approx(2 * np.mean(expected), rel=1e-4)


def test_its_gradient_in_any_unit() -> None:
    x, mean, var = random(4, 3, 5, 6).requires_grad_(), random(3, seed=1), random(3, seed=2).abs()
    assert torch.autograd.gradcheck(lambda x: statistics_distance(x, mean, var, mean_unit=0.3, var_unit=7.0), (x,))


def test_similarity_is_the_cosine_over_pairs_of_one_class() -> None:
    features, targets = random(5, 3), [0, 1, 0, 2, 0]
    cosines = [
        float(np.dot(a, b) / math.sqrt((a**2).sum() * (b**2).sum()))
        for i, a in enumerate(features.numpy())
        for j, b in enumerate(features.numpy())
        if i != j and targets[i] == targets[j]
    ]
    assert similarity(features, torch.tensor(targets)).item() == pytest.approx(np.mean(cosines), rel=1e-12)
    assert similarity(features, torch.arange(5)).item() == 0


def test_competition_is_one_minus_js_in_units_of_its_maximum() -> None:
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
        lambda x: statistics_distance(x, random(2, seed=3), random(2, seed=4).abs()),
        lambda x: competition(x.flatten(1), random(2, 32, seed=5), 3.0),
        lambda x: competition(random(2, 32, seed=5), x.flatten(1), 3.0),
        lambda x: similarity(x.flatten(1), torch.tensor([3, 3])),
    ],
)
def test_gradients_by_finite_differences(term) -> None:
    assert torch.autograd.gradcheck(term, (random(2, 2, 4, 4).requires_grad_(),), atol=1e-7)


def objective_on(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """All terms of a fixed teacher and student, both random, in the precision of ``x``."""
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
    """The objective of the shipped teacher on fixed noise; regenerate by deleting the file's entry on purpose only."""
    teacher = load_model("digits_cnn").network
    x = random(16, 1, 8, 8, seed=9).float()
    loss, terms = Objective(ALL_TERMS.changed({"alpha_compete": 0.0}), teacher)(x, x, torch.arange(16) % 10)
    found = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-4)


def test_taps_measure_every_batchnorm_and_leave_the_network_as_it_is() -> None:
    network = load_model("digits_cnn").network
    before = [id(module) for module in network.modules()]
    x = random(4, 1, 8, 8).float()
    inputs: list[Tensor] = []
    layers = batchnorm_layers(network)
    handles = [layer.register_forward_pre_hook(lambda layer, given: inputs.append(given[0])) for layer in layers]
    expected = network(x)
    for handle in handles:
        handle.remove()
    output, distances_L, features_ND = TappedNetwork(network)(x)
    assert torch.equal(output, expected)
    assert torch.equal(classifier(network)(features_ND), expected)  # type: ignore[misc]
    assert [id(module) for module in network.modules()] == before
    assert distances_L.tolist() == pytest.approx(
        [
            statistics_distance(given, layer.running_mean, layer.running_var).item()
            for given, layer in zip(inputs, layers, strict=True)
        ]
    )


def test_a_tapped_network_shares_its_weights() -> None:
    network = load_model("digits_cnn").network
    tapped = TappedNetwork(network)
    assert {p.data_ptr() for p in tapped.parameters()} == {p.data_ptr() for p in network.parameters()}


def test_taps_see_timm_batchnorms_that_hold_an_activation() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    _, distances_L, features_ND = TappedNetwork(network)(torch.randn(2, 3, 64, 64))
    assert distances_L.shape == (49,)
    assert features_ND.shape == (2, 1280)
    assert (distances_L > 0).all()


def test_without_a_classifier_the_features_are_the_logits() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 8), torch.nn.Flatten()).eval()
    tapped = TappedNetwork(network)(random(3, 1, 8, 8).float())
    assert torch.equal(tapped.features_ND, tapped.logits_NK)
    assert tapped.distances_L.shape == (0,)


def test_a_distance_of_nothing_has_no_gradient() -> None:
    x = torch.tensor([[-1.0], [1.0]], requires_grad=True)  # mean 0, variance 1, exactly as asked
    distance = statistics_distance(x, torch.zeros(1), torch.ones(1))
    distance.backward()
    assert distance.item() == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(2, 1))


def test_layers_without_running_statistics_are_no_layers() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2, track_running_stats=False))
    assert batchnorm_layers(network) == []
