"""The BatchNorm prior against a plain float64 reference, and the taps through which priors measure a network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dreamdistill.invert.objective import Objective
from dreamdistill.invert.priors import BatchNormStatistics, statistics_distance
from dreamdistill.invert.recipe import Recipe
from dreamdistill.invert.taps import TappedNetwork
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.features import batchnorm_layers, last_linear


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def running(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The statistics of a layer."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean, layer.running_var


def layer_inputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    """The inputs of the BatchNorm layers, seen by hooks."""
    inputs: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for layer in batchnorm_layers(network)
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return inputs


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (7, 3)])
def test_statistics_distance_takes_the_biased_variance(shape: tuple[int, ...]) -> None:
    x, mean, var = random(*shape), random(3, seed=1), random(3, seed=2).abs()
    flat = np.moveaxis(x.numpy(), 1, 0).reshape(3, -1)
    mu = flat.mean(1)
    sigma = ((flat - mu[:, None]) ** 2).mean(1)
    expected = math.sqrt(((mu - mean.numpy()) ** 2).sum()) + math.sqrt(((sigma - var.numpy()) ** 2).sum())
    assert statistics_distance(x, mean, var).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("channels", "units"), [(2, (1.0, 1.0)), (3, (0.3, 7.0))])
def test_its_gradient_by_finite_differences(channels: int, units: tuple[float, float]) -> None:
    x = random(4, channels, 5, 6).requires_grad_()
    mean, var = random(channels, seed=1), random(channels, seed=2).abs()
    mean_unit, var_unit = units
    assert torch.autograd.gradcheck(
        lambda x: statistics_distance(x, mean, var, mean_unit=mean_unit, var_unit=var_unit), (x,)
    )


def test_a_distance_of_zero_has_a_gradient_of_zero() -> None:
    x = torch.tensor([[-1.0], [1.0]], requires_grad=True)  # mean 0 and variance 1, exactly the running statistics
    distance = statistics_distance(x, torch.zeros(1), torch.ones(1))
    distance.backward()
    assert distance.item() == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(2, 1))


def test_absolute_statistics_are_summed_over_the_layers() -> None:
    network, x = load_model("digits_cnn").network, random(4, 1, 8, 8).float()
    distances = [
        statistics_distance(given, *running(layer)).item()
        for given, layer in zip(layer_inputs(network, x), batchnorm_layers(network), strict=True)
    ]
    assert len(distances) > 1
    for factor in (1.0, 10.0):
        terms = TappedNetwork(network, [BatchNormStatistics(first_factor=factor)])(x).terms
        assert terms["feature"].item() == pytest.approx(sum(distances) + (factor - 1) * distances[0], rel=1e-6)


def test_relative_statistics_are_in_units_of_the_layer_and_averaged() -> None:
    network, x = load_model("digits_cnn").network, random(6, 1, 8, 8).float()
    expected = []
    for given, layer in zip(layer_inputs(network, x), batchnorm_layers(network), strict=True):
        flat = np.moveaxis(given.double().numpy(), 1, 0).reshape(layer.num_features, -1)
        mean, var = (statistics.double().numpy() for statistics in running(layer))
        by_mean = np.linalg.norm(flat.mean(1) - mean) / np.linalg.norm(np.sqrt(var))
        expected.append(by_mean + np.linalg.norm(flat.var(1) - var) / np.linalg.norm(var))
    recipe = Recipe(steps=(1,), alpha_feature=2.0, alpha_class=0.0, statistics="relative")
    loss, terms = Objective(recipe, network)(x, x, torch.zeros(6, dtype=torch.int64))
    assert terms["feature"].item() == pytest.approx(np.mean(expected), rel=1e-4)
    assert loss.item() == pytest.approx(2 * np.mean(expected), rel=1e-4)


def test_taps_leave_the_network_as_it_is() -> None:
    network, x = load_model("digits_cnn").network, random(4, 1, 8, 8).float()
    before, expected = [id(module) for module in network.modules()], network(x)
    outputs = TappedNetwork(network, [BatchNormStatistics()])(x)
    last = last_linear(network)
    assert last is not None
    assert torch.equal(outputs.logits_NK, expected)
    assert torch.equal(last(outputs.features_ND), expected)
    assert [id(module) for module in network.modules()] == before


def test_a_tapped_network_shares_its_weights() -> None:
    network = load_model("digits_cnn").network
    tapped = TappedNetwork(network, [BatchNormStatistics()])
    assert {p.data_ptr() for p in tapped.parameters()} == {p.data_ptr() for p in network.parameters()}
    assert {b.data_ptr() for b in tapped.buffers()} == {b.data_ptr() for b in network.buffers()}


def test_taps_measure_timm_batchnorms_that_hold_an_activation() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    prior = BatchNormStatistics()
    assert len(prior.layers(network)) == 49
    outputs = TappedNetwork(network, [prior])(torch.randn(2, 3, 64, 64))
    assert outputs.features_ND.shape == (2, 1280)
    assert outputs.terms["feature"] > 0


def test_without_a_linear_layer_the_features_are_the_logits() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten()).eval()
    outputs = TappedNetwork(network)(random(3, 1, 8, 8).float())
    assert torch.equal(outputs.features_ND, outputs.logits_NK)
    assert outputs.terms == {}


def test_layers_without_running_statistics_are_not_measured() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    assert not BatchNormStatistics().layers(network)


class Activity:
    """Another prior, that only this file knows: the mean absolute input of the linear layers."""

    name = "activity"
    needs = "linear layer"

    def layers(self, network: nn.Module) -> Sequence[nn.Module]:
        return [module for module in network.modules() if isinstance(module, nn.Linear)]

    def measure(self, layer: nn.Module) -> nn.Module:
        return MeanAbsolute()

    def term(self, measured: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(measured)).mean()


class MeanAbsolute(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs().mean()


def test_several_priors_measure_one_pass_in_one_graph() -> None:
    torch.compiler.reset()
    network, x = load_model("digits_cnn").network, random(4, 1, 8, 8).float()
    tapped = TappedNetwork(network, [BatchNormStatistics(), Activity()])
    outputs = tapped(x)
    traced = torch.compile(tapped, fullgraph=True, backend="eager")(x)
    assert outputs.terms["activity"].item() == pytest.approx(outputs.features_ND.abs().mean().item())
    assert outputs.terms["feature"].item() == TappedNetwork(network, [BatchNormStatistics()])(x).terms["feature"].item()
    for name, term in outputs.terms.items():
        assert traced.terms[name].item() == pytest.approx(term.item(), rel=1e-6)
